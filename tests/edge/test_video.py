"""The annotated video through a real ffmpeg: decoded back, killed, stopped, on a full disk."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.annotated import Annotated
from kdlight_edge.sinks.video import Video
from tests.waiting import LIMIT, until

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]

pytestmark = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed: apt install ffmpeg")


def probe(file: Path) -> dict[str, Any]:
    """Decode the whole file; return its picture stream with the number of frames that came out."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (stream,) = json.loads(done.stdout)["streams"]
    found: dict[str, Any] = stream
    return found


def stamps(file: Path) -> list[float]:
    command = ["ffprobe", "-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line.strip(",")) for line in done.stdout.split()]


def first_frame(file: Path) -> Any:
    return cv2.cvtColor(cv2.VideoCapture(str(file)).read()[1], cv2.COLOR_BGR2RGB)


@pytest.fixture
def sink(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Callable[..., Video]:
    drawing = Annotated(tmp_path, open_bundle(tiny_bundle()).manifest)
    return lambda name="clip.mp4", rate=None: Video(tmp_path / name, drawing, rate)


def feed(video: Video, count: int, size: tuple[int, int] = (320, 256), value: int = 90) -> None:
    image = np.full((size[1], size[0], 3), value, np.uint8)
    for index in range(count):
        now = Moment.now()
        prediction = Prediction("cam", index, now, now, "accepted", "", "crack", 0.9, (("crack", 0.9),))
        video.write(prediction, Frame(image, now, "cam", index))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_every_frame_comes_back_from_the_file_with_words_on_it(sink: Callable[..., Video], name: str) -> None:
    video = sink(name)
    feed(video, 20)
    video.write(Prediction("cam", 20, Moment.now(), Moment.now(), "error", "torn"), None)
    video.close()
    video.close()
    found = probe(video.path)
    assert (found["codec_name"], found["width"], found["height"]) == ("h264", 320, 256)
    assert int(found["nb_read_frames"]) == 20
    picture = first_frame(video.path)
    assert abs(int(picture[20, 160].mean()) - 90) < 4
    assert picture[-40:, :120].max() > 200, "white letters in the lower left corner"


def test_frames_have_the_times_at_which_they_came(sink: Callable[..., Video]) -> None:
    video = sink()
    feed(video, 1)
    time.sleep(0.5)
    feed(video, 1)
    video.close()
    first, second = stamps(video.path)
    assert second - first > 0.4


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed; apt-get install faketime brings it")
@pytest.mark.parametrize("step", [-3600, 31_536_000])
def test_a_clock_that_is_set_begins_the_next_file_and_squeezes_no_hour_into_a_moment(
    sink: Callable[..., Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    offset, real = tmp_path / "offset", time.time
    offset.write_text("+0")
    for name in ("FAKETIME_NO_CACHE", "NO_FAKE_STAT", "FAKETIME_DONT_FAKE_MONOTONIC"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))  # of the encoder alone: this process runs already
    video = sink()
    monkeypatch.setattr(time, "time", lambda: real() + int(offset.read_text()))
    for moved in (0, step):
        offset.write_text(f"{moved:+}")
        for _ in range(15):
            feed(video, 1)
            time.sleep(0.1)
    video.close()
    files = [stamps(tmp_path / name) for name in ("clip.mp4", "clip-2.mp4")]
    assert [(len(times), 0.5 < times[-1] - times[0] < LIMIT) for times in files] == [(15, True)] * 2


def test_a_video_file_keeps_its_rate(sink: Callable[..., Video]) -> None:
    video = sink(rate=10.0)
    feed(video, 11)
    video.close()
    assert stamps(video.path)[-1] == pytest.approx(1.0)


def test_a_camera_that_changes_its_size_and_one_that_is_odd_stay_in_one_video(sink: Callable[..., Video]) -> None:
    video = sink()
    feed(video, 5, size=(321, 301))
    feed(video, 5, size=(600, 300), value=200)
    video.close()
    found = probe(video.path)
    assert (found["width"], found["height"], int(found["nb_read_frames"])) == (320, 300, 10)


def test_a_video_that_is_there_is_left_alone(sink: Callable[..., Video], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("an older one")
    for _ in range(2):
        video = sink()
        feed(video, 3)
        video.close()
    assert (tmp_path / "clip.mp4").read_text() == "an older one"
    assert [int(probe(tmp_path / f"clip-{n}.mp4")["nb_read_frames"]) for n in (2, 3)] == [3, 3]


def test_an_encoder_that_is_killed_leaves_a_file_that_plays_and_the_next_goes_on_beside_it(
    sink: Callable[..., Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    video = sink()

    def fragments_are_on_the_disk() -> bool:
        feed(video, 5)
        return video.path.exists() and video.path.stat().st_size > 5000

    until(fragments_are_on_the_disk)
    first, child = video.path, video._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(KDLightError, match=r"clip\.mp4 cannot be written"):
        feed(video, 1)
    with pytest.raises(KDLightError, match="tried again soon"):
        feed(video, 1)
    assert int(probe(first)["nb_read_frames"]) > 5
    monkeypatch.setattr("kdlight_edge.sinks.video.AGAIN", 0.0)
    feed(video, 4)
    video.close()
    assert (video.path.name, int(probe(video.path)["nb_read_frames"])) == ("clip-2.mp4", 4)


def test_what_cannot_be_a_video_is_refused(
    sink: Callable[..., Video], tmp_path: Path, tiny_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(UsageError, match=r"give a name with .mp4 or .mkv"):
        sink("clip.gif")
    with pytest.raises(KDLightError, match=r"/proc/clip.mp4 cannot be written: .*; name another folder"):
        sink("/proc/clip.mp4")
    with pytest.raises(KDLightError, match="its folder is not there"):
        sink("nowhere/clip.mp4")
    run = ["infer", "--model", str(tiny_bundle()), "--save-video", str(tmp_path / "clip.mp4")]
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), np.zeros((40, 40, 3), np.uint8))
    for source in (
        ["--folder", str(tmp_path / "pictures")],
        ["--camera", "scene:crack", "--camera", "scene:crack?seed=2"],
    ):
        assert main([*run, *source]) == 2
        assert "--save-video needs one camera or a video file" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*run, "--camera", "scene:crack"]) == 1
    assert "apt-get install ffmpeg" in capsys.readouterr().err


def test_a_video_file_becomes_its_annotated_copy(
    sink: Callable[..., Video], tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    video = sink("in.mkv", rate=5.0)
    feed(video, 12)
    video.close()
    command = ["infer", "--source", str(video.path), "--model", str(tiny_bundle()), "--save-video"]
    assert main([*command, str(tmp_path / "out.mp4")]) == 0
    assert int(probe(tmp_path / "out.mp4")["nb_read_frames"]) == 12
    assert stamps(tmp_path / "out.mp4")[-1] == pytest.approx(11 / 5)


@contextlib.contextmanager
def camera(bundle: Path, file: Path, stderr: IO[bytes] | int = subprocess.PIPE) -> "Iterator[subprocess.Popen[str]]":
    scene = "scene:crack?size=320x240&fps=50"
    command = [*COMMAND, "--camera", scene, "--model", str(bundle), "--save-video", str(file), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", done: Callable[[], bool]) -> None:
    """Read results, so that none is held up, until something is so."""
    assert process.stdout is not None
    for _ in process.stdout:
        if done():
            return
    raise AssertionError("the run ended")


def written(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def test_after_kill_9_of_the_program_the_video_plays(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    file = tmp_path / "clip.mp4"
    with camera(tiny_bundle(), file) as process:
        read_until(process, lambda: written(file) > 20_000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    until(lambda: encoder_of(file) is None)  # it ends its file by itself
    assert int(probe(file)["nb_read_frames"]) > 10


def encoder_of(file: Path) -> int | None:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"ffmpeg") and str(file).encode() in words:
                return int(process.name)
    return None


def test_an_encoder_that_hangs_costs_frames_of_the_video_and_none_of_the_camera(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    file = tmp_path / "clip.mp4"
    with camera(tiny_bundle(), file) as process:
        read_until(process, lambda: written(file) > 5000)
        encoder = encoder_of(file)
        assert encoder is not None
        os.kill(encoder, signal.SIGSTOP)
        seen = itertools.count()
        read_until(process, lambda: next(seen) > 150)
        os.kill(encoder, signal.SIGCONT)
        read_until(process, lambda: next(seen) > 200)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "video: " in said
    assert "full" in said
    assert int(probe(file)["nb_read_frames"]) > 10


def test_a_full_disk_ends_the_video_and_not_the_answers_and_another_begins_when_there_is_room(
    disk_of: Callable[[int], Path], tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    disk = disk_of(256)
    (disk / "ballast").write_bytes(bytes(200_000))
    said, first, second = tmp_path / "said", disk / "clip.mp4", disk / "clip-2.mp4"
    indices: list[int] = []

    def told(words: str) -> bool:
        return words in said.read_text()

    with said.open("wb") as stderr, camera(tiny_bundle(), first, stderr) as process:
        assert process.stdout is not None
        answers = (json.loads(line)["index"] for line in process.stdout)
        indices += itertools.takewhile(lambda _: not told("No space left on device"), answers)
        full_at = indices[-1]
        indices += itertools.islice(answers, 100)
        (disk / "ballast").unlink()
        indices += itertools.takewhile(lambda _: not told("video: works again"), answers)
        process.send_signal(signal.SIGTERM)
        indices += answers
        assert process.wait(LIMIT) == 0
    assert indices == sorted(set(indices))
    assert indices[-1] > full_at + 100
    mine = [line for line in said.read_text().splitlines() if line.startswith("kdlight-edge: video: ")]
    assert f"{first} cannot be written" in mine[0]
    assert "results were lost until now" in mine[1]
    assert "results were not delivered" in mine[2]
    assert len(mine) == 3
    assert int(probe(first)["nb_read_frames"]) > 10
    assert int(probe(second)["nb_read_frames"]) > 0
