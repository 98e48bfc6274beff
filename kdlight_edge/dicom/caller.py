"""What a caller of the listener may send: units of a bounded size, each within a bounded time, so many unanswered.

pynetdicom reads a unit to its end however long it says it is, and waits for its last byte for ever: a scanner that was
switched off in the middle of one would keep its place among the callers until the program ends.
"""

import errno
import os
import socket
import time
import weakref
from typing import Any

from pynetdicom import evt

ANNOUNCED = 256 << 10
"""Bytes of a data unit that callers are told they may send (PS3.8, D.1)."""

LARGEST_UNIT = 1 << 20
"""Bytes of a unit above which its caller is cut off unread: some send more than they were told they may."""

UNIT_SECONDS = 30.0
"""How long a unit may take from its first byte to its last."""

LARGEST_OBJECT = 1 << 30
"""Bytes of an object above which its caller is cut off: it is held in memory, one of each caller."""


class Caller:
    """Handlers of pynetdicom's events that cut off callers who send too much, or stop in the middle."""

    def __init__(self) -> None:
        self._received = weakref.WeakKeyDictionary[Any, int]()

    def called(self, event: evt.Event) -> None:
        """Read the units of a new caller with our own patience, before its first one is read."""
        connection: Any = event.assoc.dul.socket
        connection.recv = Reader(connection.socket).read

    def received(self, event: evt.Event) -> None:
        """Count what came; in the thread that reads for an association."""
        count = self._received.get(event.assoc, 0) + len(event.data)
        self._received[event.assoc] = count
        if count > LARGEST_OBJECT:
            connection: Any = event.assoc.dul.socket
            connection.close()

    def answered(self, event: evt.Event) -> None:
        """Begin anew: what was sent is counted from here, and so is how long the caller has been silent."""
        self._received.pop(event.assoc, None)
        # pynetdicom counts the time that an answer took as the caller's silence, and would cut it off right after.
        event.assoc.dul._idle_timer.restart()  # noqa: SLF001 - it has no other way


class Reader:
    """Reads from a connection; pynetdicom asks for the six bytes that every unit begins with, and then for its rest."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, count: int) -> bytearray:
        """Return so many bytes, fewer where the caller hung up.

        Raises:
            OSError: they are too many, or did not come in time; pynetdicom ends the association then.
        """
        if count > LARGEST_UNIT:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        content = bytearray(count)
        view, done, until = memoryview(content), 0, time.monotonic() + UNIT_SECONDS
        try:
            while done < count:
                self._connection.settimeout(max(0.001, until - time.monotonic()))
                came = self._connection.recv_into(view[done:])
                if not came or time.monotonic() > until:
                    return content[:done]
                done += came
            return content
        finally:
            self._connection.settimeout(UNIT_SECONDS)  # of an answer that nobody reads
