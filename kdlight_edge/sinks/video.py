"""The pictures of a camera with the answers drawn on them, as a video through an ffmpeg child."""

import contextlib
import errno
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.sinks import ink
from kdlight_edge.sinks.annotated import Annotated

PROGRAM = "ffmpeg"

FORMATS = (".mp4", ".mkv")

LARGEST = 1920
"""Longer side in pixels at most: what decoders in hardware play."""

FRAGMENT = 1.0
"""Seconds of a fragment: what a killed encoder or a power cut costs."""

AGAIN = 5.0
"""Seconds after an encoder that broke before the next is tried."""

GOODBYE = 10.0
"""Seconds that an encoder has to end its file."""

STEP = 1.0
"""Seconds by which the clock must be set for the next file to begin: the encoder gives frames its time."""

HEADER = 4096
"""Bytes in which no file here has a frame yet, or few."""


class Video:
    """Draws label, probability, decision and age on each frame and hands it to an encoder (H.264).

    Belongs behind an `Outbox`: a disk that is slow blocks the pipe, and frames are dropped and counted there. The file
    is made of fragments that are whole, so it plays up to the last second whatever is killed. A file that is there is
    left alone: the next is NAME-2.mp4, NAME-3.mp4 and so on.
    """

    wants_frames = True

    def __init__(self, path: Path, drawing: Annotated, rate: float | None) -> None:
        """Look for the encoder; it is begun with the first frame, which tells the size.

        Args:
            path: of the file, .mp4 or .mkv.
            drawing: writes on a frame.
            rate: frames a second of a video file; None for a camera, whose frames have the time at which they come.

        Raises:
            UsageError: a name with another ending.
            KDLightError: no ffmpeg, or a folder that is not there or may not be written to.
        """
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"--save-video {path} is no video here; give a name with {' or '.join(FORMATS)}")
        if shutil.which(PROGRAM) is None:
            raise KDLightError("--save-video needs ffmpeg, which is not installed: apt-get install ffmpeg")
        if not path.parent.is_dir():
            raise KDLightError(f"{path} cannot be written: its folder is not there; make it")
        try:
            tempfile.TemporaryFile(dir=path.parent).close()  # what the encoder would say only once frames come
        except OSError as error:
            if error.errno != errno.ENOSPC:  # there may be room later, and the camera does not wait for it
                raise KDLightError(f"{path} cannot be written: {error.strerror}; name another folder") from error
        self.path, self._asked, self._drawing, self._rate = path, path, drawing, rate
        """``path``: of the file that is written now."""
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this sink
        self._size = (0, 0)
        self._set = 0.0
        """By how much the wall clock was ahead of the monotonic one when the encoder began."""
        self._broke = -AGAIN
        self._taken = self._lost = 0
        self._arriving = False
        """Whether frames of this encoder were seen in the file; ``_taken`` counts those that it was given."""
        self._closed = False

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Draw and encode one frame; there is none of an unreadable one.

        Raises:
            KDLightError: the encoder broke, as on a full disk; another is begun later.
        """
        if frame is None:
            return
        if self._child is None and time.monotonic() - self._broke < AGAIN:
            raise KDLightError(f"{self.path} cannot be written; the encoder is tried again soon")
        note = "" if self._rate is not None else f"{prediction.age * 1000:,.0f} ms"
        picture = self._drawing.draw(prediction, frame.image, note)
        if self._rate is None and abs(_ahead() - self._set) > STEP and (wrong := self._end()):
            raise KDLightError(f"{self.path} cannot be written: {wrong}")
        if self._child is None:
            self._begin(picture)
        stdin = self._child.stdin if self._child is not None else None
        if stdin is None:
            return
        try:
            stdin.write(_fitted(picture, self._size).data)
        except OSError as error:  # a broken pipe above all, which must not be taken for that of stdout
            raise KDLightError(f"{self.path} cannot be written: {self._end(error)}") from error
        self._taken += 1
        if not self._arriving:
            with contextlib.suppress(OSError):  # not made yet
                self._arriving = self.path.stat().st_size > HEADER

    @property
    def in_doubt(self) -> int:
        """Frames that are lost, or with an encoder of which nothing was seen in its file yet: see `Doubtful`."""
        return self._lost + (0 if self._arriving else self._taken)

    def lost(self) -> int:
        """Return how many frames broken encoders have taken along since this was asked last: see `Doubtful`."""
        lost, self._lost = self._lost, 0
        return lost

    def _begin(self, picture: ink.Picture) -> None:
        """Begin an encoder for pictures of this size; sides are even, as the colours are halved."""
        height, width = picture.shape[:2]
        scale = min(1.0, LARGEST / max(height, width))
        self._size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
        self.path, self._set = _free(self._asked), _ahead()
        self._said.seek(0)
        self._said.truncate()
        # Out of the reach of Ctrl-C, which would end it before the last frames are in.
        self._child = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            _command(self.path, self._size, self._rate),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True,
        )  # fmt: skip

    def _end(self, error: OSError | None = None) -> str:
        """Let the encoder end its file; return what went wrong, nothing where all went well."""
        child, self._child = self._child, None
        if child is None:
            return ""
        if error is not None:
            self._broke = time.monotonic()
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # on a disk that hangs: it ends when that goes on
            child.wait(GOODBYE)
        if error is None and not child.returncode:
            self._taken, self._arriving = 0, False
            return ""
        self._said.seek(0)
        lines = self._said.read(4096).decode("utf-8", "replace").splitlines()
        if self.path.exists() and not self.path.stat().st_size:
            self.path.unlink()
        self._lost += max(0, self._taken - _frames_in(self.path))  # before the next line, as others ask for the doubt
        self._taken, self._arriving = 0, False
        return lines[0] if lines else (error and error.strerror) or f"{PROGRAM} ended with {child.returncode}"

    def close(self) -> None:
        """End the file; safe to call twice.

        Raises:
            KDLightError: the encoder broke at the end, as on a full disk.
        """
        if not self._closed:
            self._closed = True
            wrong = self._end()
            self._said.close()
            if wrong:
                raise KDLightError(f"{self.path} cannot be written: {wrong}")


def _command(path: Path, size: tuple[int, int], rate: float | None) -> list[str]:
    """Return what encodes raw pictures from stdin.

    Fragments begin with a key picture each. Without a rate each picture has the time at which it comes, in
    milliseconds.
    """
    stamps = (
        ["-use_wallclock_as_timestamps", "1", "-framerate", "1000"] if rate is None else ["-framerate", f"{rate:g}"]
    )
    niced = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []  # the network comes first
    return [
        *niced, PROGRAM, "-hide_banner", "-loglevel", "error", "-nostats", "-y",
        *stamps, "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}", "-i", "pipe:0",
        "-fps_mode", "passthrough", "-enc_time_base", "1/1000",
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-crf", "24", "-threads", "1",
        "-pix_fmt", "yuv420p", "-level", "4.2", "-force_key_frames", f"expr:gte(t,n_forced*{FRAGMENT:g})",
        *(["-movflags", "+frag_keyframe+empty_moov+default_base_moof"] if path.suffix.lower() == ".mp4" else []),
        "-flush_packets", "1", str(path.absolute()),
    ]  # fmt: skip


def _frames_in(path: Path) -> int:
    """Return how many frames a file that was left behind has; 0 where it is none."""
    command = [PROGRAM, "-v", "quiet", "-i", str(path.absolute()), "-map", "0:v:0", "-c", "copy", "-f", "null"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, no shell
            [*command, "-progress", "pipe:1", "-"], stdin=subprocess.DEVNULL, capture_output=True, timeout=GOODBYE,
            check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as slow:
        told = slow.stdout or b""
    else:
        told = done.stdout
    return max((int(line[6:]) for line in told.splitlines() if line.startswith(b"frame=")), default=0)


def _ahead() -> float:
    """Return seconds that only a clock that is set changes, as a board without one of its own does after each start."""
    return time.time() - time.monotonic()


def _free(path: Path) -> Path:
    """Return the name, or with the first number that is not taken."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _fitted(picture: ink.Picture, size: tuple[int, int]) -> ink.Picture:
    """Bring a picture to the size of the video; one of another shape (the camera changed) gets bars."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, min(width, round(picture.shape[1] * scale))), max(1, min(height, round(picture.shape[0] * scale)))
    resized = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = resized
    return canvas
