"""What a broken encoder of --save-video took along is told as lost, and nothing of it as delivered."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.annotated import Annotated
from kdlight_edge.sinks.outbox import Outbox
from kdlight_edge.sinks.video import Video

LIMIT = 30.0

pytestmark = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed: apt install ffmpeg")


@pytest.fixture
def sink(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Callable[[str], Video]:
    drawing = Annotated(tmp_path, open_bundle(tiny_bundle()).manifest)
    return lambda name: Video(tmp_path / name, drawing, None)


@pytest.fixture
def nowhere(sink: Callable[[str], Video], tmp_path: Path) -> Video:
    """Return a video whose folder is taken away before its encoder begins."""
    (tmp_path / "gone").mkdir()
    video = sink("gone/clip.mp4")
    (tmp_path / "gone").rmdir()
    return video


def feed(video: Video | Outbox, size: tuple[int, int] = (64, 64)) -> None:
    now, image = Moment.now(), np.full((size[1], size[0], 3), 90, np.uint8)
    video.write(Prediction("cam", 0, now, now, "accepted", "", "crack", 0.9), Frame(image, now, "cam", 0))


def frames_of(file: Path) -> int:
    entries = ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    command = ["ffprobe", "-v", "error", "-count_frames", *entries, str(file)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_an_encoder_that_never_writes_has_delivered_nothing(nowhere: Video) -> None:
    told: list[str] = []
    box = Outbox("video", nowhere, stop=threading.Event(), alone=True, report=told.append)
    most = 0
    for _ in range(60):
        feed(box)
        most = max(most, box.delivery().delivered)
        time.sleep(0.02)
    box.close()
    found = box.delivery()
    assert (most, found.delivered, found.dropped["failed"]) == (0, 0, 60)
    assert "gone/clip.mp4 cannot be written" in told[0]
    assert told[1:] == ["video: 60 of 60 results were not delivered (60 failed)"]


def test_an_encoder_that_cannot_end_its_file_is_told(nowhere: Video) -> None:
    feed(nowhere)  # the pipe takes it, before the encoder has looked at its file
    with pytest.raises(KDLightError, match=r"clip\.mp4 cannot be written: .*No such file"):
        nowhere.close()
    assert (nowhere.in_doubt, nowhere.lost()) == (1, 1)
    assert (nowhere.in_doubt, nowhere.lost()) == (0, 0)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_of_a_killed_encoder_only_the_frames_that_are_in_the_file_have_arrived(
    sink: Callable[[str], Video], name: str
) -> None:
    video, given, end = sink(name), 0, time.monotonic() + LIMIT
    while not given or video.in_doubt:
        feed(video, (320, 256))
        given += 1
        time.sleep(0.01)
        assert time.monotonic() < end
    first, child = video.path, video._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(KDLightError, match=f"{name} cannot be written"):
        feed(video, (320, 256))
    video.close()
    arrived = given - video.lost()
    assert arrived > 0
    assert arrived - frames_of(first) in {0, 1}  # the last may be torn
