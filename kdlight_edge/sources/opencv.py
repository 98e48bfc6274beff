"""Video files, USB cameras and RTSP streams through OpenCV's own readers."""

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.sources import Patience, Source
from kdlight_edge.sources.address import with_login, without_password
from kdlight_edge.sources.extent import cut_off
from kdlight_edge.sources.lateness import Lateness, unread
from kdlight_edge.sources.reconnect import keep_reading

# A lost camera is reported once, by us; OpenCV itself is silenced by `kdlight_edge.picture`, which all sources import.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

V4L2_SECONDS = 10.0
"""How long OpenCV waits for a frame of a USB camera."""

DOUBTFUL = 3
"""Frames at the end of a video that is cut off which are not answered: FFmpeg fills up the half of one with grey or old
pixels, and two may be shown after it that came before it."""


class Video:
    """Every frame of a video file, in order; at the end of one that is cut off, what is missing."""

    live = False

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            SourceError: OpenCV cannot read it as a video.
        """
        self._path = path
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        self._guard = threading.Lock()
        """OpenCV crashes when a capture is released while another thread reads it."""
        self._closed = False
        lacks = ""
        with contextlib.suppress(OSError):  # told when it is read
            lacks = cut_off(path)
        if not self._capture.isOpened():
            if lacks:  # a telephone's MP4 has the list of its frames at its end
                raise SourceError(f"{path} is cut off, and no frame of it can be read: {lacks}; copy it again")
            raise SourceError(f"{path} cannot be read as a video; ffprobe {path} tells what it holds")
        self.rate: float = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        """Frames a second, as the file says."""
        self._read = 0
        self._doubtful = DOUBTFUL if lacks else 0

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        held: deque[Frame] = deque()
        while (frame := self._next()) is not None:
            held.append(frame)
            if len(held) > self._doubtful:
                yield held.popleft()
        if missing := self._missing(len(held)):
            yield Unreadable(missing, Moment.now(), self._path, self._read - len(held))
        else:
            yield from held

    def _next(self) -> Frame | None:
        """Return the next frame; None behind the last one."""
        started = time.perf_counter()
        with self._guard:
            if self._closed:
                return None
            there = self._capture.grab()
            captured = Moment.now()
            there, image = self._capture.retrieve() if there else (False, None)
        if not there:
            return None
        rgb = _rgb(image)
        self._read += 1
        more = {"decode_ms": (time.perf_counter() - started) * 1000}
        return Frame(rgb, captured, self._path, self._read - 1, 0, more)

    def _missing(self, held: int) -> str:
        """Return what to say of a file that is cut off, and has lost frames by it, or of which none could be read."""
        with self._guard:
            if self._closed:
                return ""
            frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        try:
            lacks = cut_off(self._path, all_read=0 < frames <= self._read)
        except OSError as error:  # its disk went away
            return f"the video cannot be read further than {self._read:,} frames: {error.strerror}; see to its disk"
        if lacks:
            return f"the video is cut off after {self._read - held:,} frames: {lacks}; copy it again"
        # OpenCV opens a video of a codec that it lacks (AV1), and then gives none.
        none = "no frame of the video can be decoded: its codec is not known here, or it is damaged; save it as H.264"
        return "" if self._read else none

    def close(self) -> None:
        """Close the file; the iteration ends."""
        with self._guard:
            self._closed = True
            self._capture.release()


class Camera:
    """An open camera or network stream: one `Feed`."""

    def __init__(self, capture: cv2.VideoCapture, patience: float = V4L2_SECONDS, late: Lateness | None = None) -> None:
        """Take what is open, the seconds of silence after which OpenCV gives up, and what tells how late frames are."""
        self._capture = capture
        self._patience = patience
        self._late = late
        self._silence = (-math.inf, -math.inf)
        """The last long wait for a frame: from when and until when, by the monotonic clock."""

    def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
        """Wait for the next frame; see `Feed.read`."""
        started = time.monotonic()
        there, now = self._capture.grab(), time.monotonic()
        if now - started > self._patience / 2:
            self._silence = started, now
        if not there:
            # After a silence the decoder may still give the frames that it kept; what comes without one is the end.
            begun, ended = self._silence
            silent = now - ended < self._patience / 2
            raise SourceError(f"no frame for {ended - begun:.1f} s" if silent else "the stream ended")
        captured = self._captured()
        there, image = self._capture.retrieve()
        return (_rgb(image) if there else "the camera's frame cannot be decoded"), captured

    def _captured(self) -> Moment:
        """Return when the frame that was just read had come."""
        now = Moment.now()
        if self._late is None:
            return now
        late = self._late.of(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, now.monotonic)
        if late > self._patience:
            raise SourceError(
                f"its frames are read {late:.1f} s late, as it sends more than this machine decodes; "
                "let it send a smaller picture, fewer frames, or MJPEG"
            )
        return Moment(now.utc - late, now.monotonic - late)

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Source:
    """Open a video file, a USB camera or a network stream.

    Raises:
        SourceError: it is not there, not allowed or not a video.
    """
    if "://" in uri:
        return keep_reading(without_password(uri), lambda: stream(uri, patience), patience, report)
    if uri.isdecimal() or uri.startswith("/dev/"):
        device = f"/dev/video{uri}" if uri.isdecimal() else uri
        return keep_reading(uri, lambda: _usb(device), patience, report)
    return Video(uri)


def stream(uri: str, patience: Patience) -> Camera:
    """Connect to a network stream.

    Raises:
        SourceError: nobody answers within the stall timeout, or with something that is no video.
    """
    timeout = int(patience.stall_timeout * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout]
    capture = cv2.VideoCapture(with_login(uri), cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        name = without_password(uri)
        raise SourceError(f"no stream at {name}; see that it is on, and that ffplay {name} shows it from here")
    # Over HTTP it may be a file, which waits to be read and is not late.
    late = Lateness(lambda: unread(with_login(uri))) if uri.lower().startswith("rtsp") else None
    return Camera(capture, patience.stall_timeout, late)


def _usb(device: str) -> Camera:
    """Open a V4L2 device; a link to one is looked up each time, as a replugged camera is renumbered."""
    path = Path(device).resolve()
    if not path.exists():
        raise SourceError(f"there is no camera at {device}; plug it in, ls /dev/v4l/by-id lists those that are there")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{device} may not be opened; sudo usermod -aG video $USER, then log in again")
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{device} gives no pictures: not a camera, or another program holds it (fuser -v {device})")
    return Camera(capture)


def _rgb(image: Any) -> npt.NDArray[np.uint8]:
    """Turn cv2's BGR into RGB, once."""
    rgb: Any = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb  # type: ignore[no-any-return]
