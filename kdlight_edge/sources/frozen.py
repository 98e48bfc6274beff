"""A frozen camera: one that goes on sending and sends the same picture again and again."""

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Moment

STRIDE = 32
"""Rows between those that are compared first: noise makes two frames of a living sensor differ in any row."""

TAIL = 16
"""Bytes at the end of a JPEG that are compared first; what makes its pixels is longer."""

_FIRST_TABLE = b"\xff\xdb"
"""Marker of a table of quantisation (ITU-T T.81, B.2.4.1)."""


class Frozen:
    """Tells a repeated frame from a new one, and a camera that repeats for too long from one that hesitates."""

    def __init__(self, timeout: float) -> None:
        """Take the seconds of one and the same picture after which the camera counts as lost."""
        self._timeout = timeout
        self._last: npt.NDArray[np.uint8] | bytes | None = None
        self._since = 0.0
        """Monotonic time from which on the picture has been the same, or the connection with it was opened."""
        self._reopened = False

    def repeats(self, image: npt.NDArray[np.uint8] | bytes | str, captured: Moment) -> bool:
        """Tell whether a frame is the one before it; nothing is known of one that could not be decoded.

        The frame is uint8 [h, w, 3], or a whole JPEG, or the reason why it could not be decoded.

        Raises:
            SourceError: the picture has been the same for the timeout.
        """
        if isinstance(image, str):
            return False
        now = captured.monotonic
        if self._last is None or not _same(self._last, image):
            self._last, self._since, self._reopened = image, now, False
            return False
        if self._reopened:
            # Opened again and still the same picture: it has as long as any other, then it is opened once more.
            self._since, self._reopened = now, False
        if now - self._since >= self._timeout:
            raise SourceError(f"it has sent the same picture for {now - self._since:.1f} s: frozen")
        return True

    def reopened(self) -> None:
        """Take note that the camera is opened anew; its first picture may still be the frozen one."""
        self._reopened = True


def _same(before: npt.NDArray[np.uint8] | bytes, now: npt.NDArray[np.uint8] | bytes) -> bool:
    """Tell whether two pictures are equal in every byte; a few rows, or the end, tell it of nearly all that are not."""
    if isinstance(before, bytes) and isinstance(now, bytes):
        return before[-TAIL:] == now[-TAIL:] and (before == now or _coded(before) == _coded(now))
    if isinstance(before, bytes) or isinstance(now, bytes):
        return False
    return before.shape == now.shape and np.array_equal(before[::STRIDE], now[::STRIDE]) and np.array_equal(before, now)


def _coded(content: bytes) -> bytes:
    """Return what makes the pixels of a JPEG: a camera may stamp the time into what stands before its first table."""
    return content[max(0, content.find(_FIRST_TABLE)) :]
