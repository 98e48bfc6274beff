"""Whole lines into a file or a pipe: what is there after a full disk or a kill is made of whole lines."""

import contextlib
import os
import stat
import sys
import time
from typing import Protocol

from kdlight_edge.durable import lock
from kdlight_edge.errors import KDLightError

HELD_BYTES = 32 << 10
"""Bytes held back at most where lines are not written one by one."""

HELD_SECONDS = 0.5
"""How long a line is held back at most while others follow."""


class Writer(Protocol):
    """What a sink of text needs: `Lines`, or a file that is followed by the next when it is full."""

    def write(self, line: str) -> None:
        """Take a line without its end; raises as `Lines.write`."""
        ...

    def close(self) -> None:
        """Write what is held back and let go; raises as `Lines.write`."""
        ...


class Lines:
    """Takes text line by line and writes it with as few system calls as the reader's patience allows."""

    def __init__(self, descriptor: int, name: str, *, at_once: bool, owned: bool) -> None:
        """Take an open file.

        Args:
            descriptor: of the file, pipe or terminal.
            name: for errors.
            at_once: write each line as it comes (a camera); else hold lines back for a moment (a folder).
            owned: whether it is ours: closed by `close`, and a torn last line is cut off after an error.
        """
        self._descriptor = descriptor
        self._name = name
        self._at_once = at_once
        self._owned = owned
        self._held = bytearray()
        self._written = time.monotonic()
        self._torn = 0
        """Bytes of a line's beginning that could not be taken back yet."""
        self._open_end = False
        """Whether a line's beginning stands in a file that is not ours to cut: the next begins on a line of its own."""

    def write(self, line: str) -> None:
        """Take a line without its end.

        Raises:
            KDLightError: it cannot be written.
            BrokenPipeError: the reader of stdout went away.
        """
        self._held += line.encode("utf-8", "backslashreplace")
        self._held += b"\n"
        now = time.monotonic()
        if self._at_once or len(self._held) >= HELD_BYTES or now - self._written >= HELD_SECONDS:
            self.flush()
            self._written = now

    def flush(self) -> None:
        """Write what is held back; raises as `write`."""
        content, self._held = (b"\n" if self._open_end else b"") + self._held, bytearray()
        done = 0
        try:
            self._cut()
            while done < len(content):
                done += os.write(self._descriptor, content[done:])
            self._open_end = False
        except BrokenPipeError:
            raise
        except OSError as error:
            self._note_torn(content, done)
            raise KDLightError(
                f"{self._name} cannot be written: {error.strerror}; what is there is whole; make room there"
            ) from error

    def _note_torn(self, content: bytes, done: int) -> None:
        """Take back, now or before the next line, what the first ``done`` bytes have of a line without its end."""
        if not self._owned or not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self._open_end = content[done - 1] != ord("\n") if done else self._open_end
            return
        self._torn = self._torn or done - (content.rfind(b"\n", 0, done) + 1)
        with contextlib.suppress(OSError):
            self._cut()

    def _cut(self) -> None:
        """Take back the beginning of a line whose end could not be written."""
        if self._torn:
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR) - self._torn
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)  # else the next line would leave a hole
            self._torn = 0

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file still has that name: one that was removed or moved takes lines all the same."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))  # noqa: PTH116 - a name of any type
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a share that does not answer just now
            return True

    def close(self) -> None:
        """Write what is held back and let go; raises as `write`."""
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            if self._owned:
                os.close(self._descriptor)
            self._descriptor = -1


def open_lines(path: str | os.PathLike[str], *, at_once: bool, go_on: bool = False) -> Lines:
    """Begin a file, replacing an older one, or ``go_on`` with it as `append_lines` does.

    Raises:
        KDLightError: it cannot be opened, or another process is writing it.
    """
    if go_on and os.path.isfile(path):  # noqa: PTH113 - a name of any type
        return append_lines(path, at_once=at_once)[0]
    name = os.fspath(path)
    descriptor = _opened(name, os.O_WRONLY)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe or /dev/null takes what any number of processes write
            lock(descriptor)
            os.ftruncate(descriptor, 0)
    except BlockingIOError as error:
        os.close(descriptor)
        raise KDLightError(f"{name} is being written by another process; name another file") from error
    return Lines(descriptor, name, at_once=at_once, owned=True)


def append_lines(path: str | os.PathLike[str], *, at_once: bool) -> tuple[Lines, int, int]:
    """Go on with a file, or begin it; a line that a kill has torn is cut off.

    Returns:
        The lines, the bytes that are in the file, and the bytes that were cut off.

    Raises:
        KDLightError: it cannot be opened, or another process is writing it.
    """
    name = os.fspath(path)
    descriptor = _opened(name, os.O_RDWR | os.O_APPEND)
    try:
        lock(descriptor)
        size = os.fstat(descriptor).st_size
        torn = _torn(descriptor, size)
        if torn:
            os.ftruncate(descriptor, size - torn)
    except BlockingIOError as error:
        os.close(descriptor)
        raise KDLightError(f"{name} is being written by another process; name another file") from error
    except OSError as error:
        os.close(descriptor)
        raise KDLightError(f"{name} cannot be gone on with: {error.strerror}; name another file") from error
    return Lines(descriptor, name, at_once=at_once, owned=True), size - torn, torn


def _opened(name: str, how: int) -> int:
    try:
        return os.open(name, how | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise KDLightError(
            f"{name} cannot be written: {error.strerror}; name a file in a folder that is there"
        ) from error


def _torn(descriptor: int, size: int) -> int:
    """Return how many bytes stand behind the last line end."""
    position = size
    while position > 0:
        start = max(0, position - HELD_BYTES)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return size - (start + found + 1)
        position = start
    return size


def stdout_lines(*, at_once: bool) -> Lines:
    """Take over stdout, past Python's own buffer, which would keep what a full disk refused and fail again at exit."""
    sys.stdout.flush()
    return Lines(sys.stdout.fileno(), "stdout", at_once=at_once, owned=False)
