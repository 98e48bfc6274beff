"""A camera that sends the same picture again and again: nothing is predicted from it, and it is opened anew."""

import itertools
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sources import Patience
from kdlight_edge.sources.frozen import Frozen
from kdlight_edge.sources.reconnect import keep_reading
from tests.waiting import LIMIT


def moment(seconds: float) -> Moment:
    return Moment(seconds, seconds)


def noise(seed: int, size: tuple[int, int] = (40, 64)) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_a_repeated_picture_is_told_and_after_the_timeout_the_camera_is_lost() -> None:
    frozen = Frozen(2.0)
    assert not frozen.repeats(noise(1), moment(0))
    assert frozen.repeats(noise(1), moment(1.0))
    with pytest.raises(SourceError, match=r"same picture for 2\.0 s: frozen"):
        frozen.repeats(noise(1), moment(2.0))


def test_one_pixel_one_size_or_one_bad_frame_more_is_no_freeze() -> None:
    frozen, picture = Frozen(2.0), noise(1)
    other = picture.copy()
    other[17, 3, 1] ^= 1
    assert not frozen.repeats(picture, moment(0))
    assert not frozen.repeats(other, moment(9))
    assert not frozen.repeats(noise(1, (20, 64)), moment(18))
    assert not frozen.repeats("truncated", moment(27))


def test_a_camera_opened_again_has_the_whole_timeout_and_no_result_before_its_picture_changes() -> None:
    frozen = Frozen(2.0)
    frozen.repeats(noise(1), moment(0))
    frozen.reopened()
    assert frozen.repeats(noise(1), moment(60))
    assert frozen.repeats(noise(1), moment(61))
    with pytest.raises(SourceError, match="frozen"):
        frozen.repeats(noise(1), moment(62))
    assert not frozen.repeats(noise(2), moment(63))


class Sticking:
    """A feed that gives the pictures of a list, one every hundredth of a second by its own clock."""

    clock = itertools.count()

    def __init__(self, pictures: list[npt.NDArray[np.uint8]]) -> None:
        self._pictures = pictures

    def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
        """Give the next, or be lost."""
        if not self._pictures:
            raise SourceError("end")
        time.sleep(0.002)  # a camera's pace, so that the one who takes sees every frame
        return self._pictures.pop(0), moment(next(self.clock) / 100)

    def close(self) -> None:
        """Nothing to let go of."""


def test_a_frozen_camera_is_reopened_told_and_never_handed_out_twice() -> None:
    feeds = [Sticking([noise(1)] * 400), Sticking([noise(1)] * 5 + [noise(2)])]
    told: list[str] = []

    def connect() -> Sticking:
        if not feeds:
            raise SourceError("gone")
        return feeds.pop(0)

    patience = Patience(freeze_timeout=0.5, retries=1, first_wait=0.01, longest_wait=0.01)
    camera = keep_reading("cam", connect, patience, told.append)
    shown: list[Frame] = []
    with pytest.raises(SourceError, match="gone"):
        shown.extend(item for item in camera if isinstance(item, Frame))
    assert [frame.image[0, 0, 0] for frame in shown] == [noise(1)[0, 0, 0], noise(2)[0, 0, 0]]
    assert "frozen" in told[0]
    assert "is back" in told[1]
    assert camera.repeated >= 50


def test_a_real_camera_that_shows_one_picture_for_ever_gives_one_result_and_is_reopened(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed; apt-get install ffmpeg brings it")
    cv2.imwrite(str(tmp_path / "still.png"), noise(3, (96, 128)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    still = ["ffmpeg", "-loglevel", "quiet", "-re", "-loop", "1", "-i", str(tmp_path / "still.png"), "-q:v", "3"]
    still += ["-f", "mpjpeg"]  # the rate control of a free quality would change the bytes of a still picture
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", uri, "--model", str(tiny_bundle())]
    command += ["--json", "--freeze-timeout", "0.5", "--retries", "2", "--await-camera"]
    with subprocess.Popen([*still, "-listen", "1", uri], stdin=subprocess.DEVNULL) as camera:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        finally:
            camera.kill()
    assert done.returncode == 6, done.stderr
    assert "frozen" in done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 1


def test_a_jpeg_that_differs_only_in_what_was_stamped_before_its_tables_is_the_same_picture() -> None:
    def stamped(content: bytes, note: bytes) -> bytes:
        return content[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + content[2:]

    first, second = (bytes(cv2.imencode(".jpg", noise(seed))[1].tobytes()) for seed in (1, 2))
    frozen = Frozen(2.0)
    assert not frozen.repeats(stamped(first, b"12:00:01"), moment(0))
    assert frozen.repeats(stamped(first, b"12:00:01"), moment(0.5))
    assert frozen.repeats(stamped(first, b"at 12:00:02"), moment(1))
    assert not frozen.repeats(stamped(second, b"12:00:01"), moment(1.5))
    with pytest.raises(SourceError, match="frozen"):
        frozen.repeats(second, moment(4))
