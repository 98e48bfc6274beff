"""How late an RTSP stream is read: a machine that decodes more slowly than frames come falls ever more behind."""

import contextlib
import fcntl
import os
import socket
import stat
import sys
import termios
import urllib.parse
from collections.abc import Callable
from pathlib import Path

DOUBT = 0.5
"""Seconds that frames may come late, by the camera's own clock, before it is asked whether others wait already."""

LOOK = 1.0
"""Seconds after which it is asked anyway: the clocks of camera and board drift apart, and a camera's may be set."""

_PORTS = {"rtsp": 554, "rtsps": 322}


class Lateness:
    """Compares the time that a stream gives its frames with the time at which they are read.

    What waits in the kernel has the age of the connection's buffers, seconds of a compressed stream. The stream's time
    alone proves nothing, as some cameras count frames and call that time. So it is believed only as long as there is
    something that waits; where nothing does, the frame that was just read is the newest there is.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Take what tells the bytes that have come and were not read yet."""
        self._waiting = waiting
        self._least: float | None = None
        """Time of reading less the stream's time, of a frame that was not late."""
        self._stamp = self._looked = 0.0

    def of(self, stamp: float, now: float) -> float:
        """Return the seconds that a frame has waited to be read; 0 where it is not known to have waited.

        Args:
            stamp: the time that the stream gives it, seconds from anywhere.
            now: when it was read, monotonic.
        """
        delay, goes_on = now - stamp, stamp > self._stamp
        self._stamp = stamp
        if self._least is None or not goes_on or delay <= self._least:
            self._least, self._looked = delay, now
            return 0.0
        late = delay - self._least
        if (late > DOUBT or now - self._looked > LOOK) and not self._waiting():
            self._least, self._looked = delay, now
            return 0.0
        return late if late > DOUBT else 0.0


def unread(uri: str) -> int:
    """Return the bytes of connections of this process to a URI's port that have come and were not read."""
    parts = urllib.parse.urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme)
    # FFmpeg keeps its connections to itself.
    return sum(_unread(int(entry.name), port) for entry in Path("/proc/self/fd").iterdir())


def _unread(descriptor: int, port: int | None) -> int:
    """Return the bytes that wait in what is a connection to a port; 0 for anything else, also what is closed by now."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            connection = socket.socket(fileno=descriptor)
            try:
                if connection.family != socket.AF_UNIX and connection.getpeername()[1] == port:
                    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)
            finally:
                connection.detach()  # it stays its owner's
    return 0
