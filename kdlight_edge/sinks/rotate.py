"""A file of lines that is followed by the next one when it is full: FILE is written, FILE.000001 is the oldest."""

import contextlib
import os
import re
import time
from pathlib import Path

from kdlight_edge.durable import is_sick
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.sinks.lines import Lines, append_lines

KEPT = 9
"""Full files kept beside the one that is written, where the oldest are removed at all."""

LOOK = 1.0
"""Seconds between two looks whether the file is still there."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def size_of(text: str) -> int:
    """Return the bytes that ``10MB``, ``500k`` or ``1GiB`` means.

    Raises:
        UsageError: it means none, or less than a kilobyte.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size < _UNITS["k"]:
        raise UsageError(f"--rotate {text} is not a size; give 10MB, 500kB, 1GB, or anything from 1kB")
    return size


class Rotating:
    """Goes on with a file where it was left, and begins the next one before a line would make it too large."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        limit: int = 0,
        keep: int = 0,
        at_once: bool = True,
        patient: bool = False,
    ) -> None:
        """Open the file.

        Args:
            path: of the file that is written; the full ones stand beside it.
            limit: bytes; 0 never begins another.
            keep: full files kept; 0 keeps all.
            at_once: as for `Lines`.
            patient: where the disk takes nothing, open it with a later line.

        Raises:
            KDLightError: it cannot be opened, or another process is writing it.
        """
        self.path = Path(path)
        self._limit, self._keep, self._at_once = limit, keep, at_once
        self._lines: Lines | None = None
        self._size = self.torn = 0
        """``torn``: bytes of a line without an end that were cut off."""
        try:
            self._lines, self._size, self.torn = append_lines(path, at_once=at_once)
        except KDLightError as error:
            if not patient or not is_sick(error.__cause__):
                raise
        self._looked, self._number = time.monotonic(), 0

    def write(self, line: str) -> None:
        """Take a line of ASCII without its end; raises as `Lines.write`."""
        size = len(line) + 1
        self._look()
        if self._limit and self._size and self._size + size > self._limit:
            self._turn()
        lines = self._lines or self._open()
        lines.write(line)
        self._size += size

    def _open(self) -> Lines:
        self._lines, self._size, _ = append_lines(self.path, at_once=self._at_once)
        return self._lines

    def _look(self) -> None:
        """Let go of a file that somebody removed or moved (logrotate): what it takes nobody finds."""
        now = time.monotonic()
        if self._lines is None or now - self._looked < LOOK:
            return
        self._looked = now
        if not self._lines.is_at(self.path):
            lines, self._lines, self._size = self._lines, None, 0
            lines.close()

    def _turn(self) -> None:
        """Put the file aside; where the disk refuses at any point, the next line finds it as it then is."""
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()
        full = earlier(self.path)
        # Of those that were moved to an archive no number is given again: the next to go there would write over one.
        number = max(int(full[-1].suffix[1:]) if full else 0, self._given()) + 1
        try:
            with contextlib.suppress(FileNotFoundError):  # removed by somebody, which ends it as well
                self.path.rename(f"{self.path}.{number:06}")
                self._note(number)
            self._size = 0
            for old in full[: max(0, len(full) + 1 - self._keep)] if self._keep else ():
                old.unlink(missing_ok=True)
        except OSError as error:
            raise KDLightError(f"{self.path} cannot be put aside: {error.strerror}; what is there is whole") from error

    def _note(self, number: int) -> None:
        self._number = number
        with contextlib.suppress(OSError):  # a full disk: this run knows it
            _last_of(self.path).write_text(f"{number}\n", encoding="ascii")

    def _given(self) -> int:
        """Return the last number that was given, in this run or before it; 0 for none."""
        with contextlib.suppress(OSError, ValueError):
            self._number = max(self._number, int(_last_of(self.path).read_text(encoding="ascii")))
        return self._number

    def close(self) -> None:
        """Write what is held back and let go; raises as `Lines.write`."""
        if self._lines is not None:
            self._lines.close()


def earlier(path: Path) -> list[Path]:
    """Return the full files before ``path``, the oldest first."""
    form = re.compile(re.escape(path.name) + r"\.\d{6,}")
    found = [entry for entry in path.parent.iterdir() if form.fullmatch(entry.name)] if path.parent.is_dir() else []
    return sorted(found, key=lambda entry: int(entry.suffix[1:]))


def _last_of(path: Path) -> Path:
    """Return the file that holds the last number given."""
    return path.with_name(f"{path.name}.last")
