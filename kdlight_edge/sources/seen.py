"""What was delivered of a watched folder: remembered while it is there and some hours more, and listed in a file."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kdlight_edge import durable
from kdlight_edge.errors import SourceError
from kdlight_edge.sinks.lines import Lines, append_lines

FORGET = 6 * 3600.0
"""Seconds for which a picture must be gone before it is forgotten: a share below the folder may be away for a while."""

EARLIER = 100_000
"""Pictures at most that earlier runs have delivered, that are gone and remembered all the same."""

WORN, SLACK = 4, 1000
"""A list is written anew once it has so many times the lines that are needed, and so many more."""

State = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: a file with another state is another picture."""


class Look(NamedTuple):
    """What a look into the folder has found."""

    found: Mapping[str, State]
    """The state of every picture, by its path below the folder."""
    unlisted: tuple[str, ...]
    """Beginnings of the paths of which nothing is known, as something there could not be looked at."""
    device: int
    """Number of the file system that the folder is on."""


class Seen:
    """Remembers what was delivered.

    A picture is forgotten once it was gone for `FORGET` seconds from a folder that could be listed. A look that finds
    no picture, or finds no known one and another file system than before, shows a mount point without its share, and
    counts for nothing. So the memory holds what is in the folder, what has gone in the last six hours, and `EARLIER`
    of earlier runs.
    """

    def __init__(self, path: str, look: Look, *, new: bool) -> None:
        """Begin with what a file lists, or with nothing; with ``new`` take what is there now for seen.

        Raises:
            SourceError: the file is no such list, or cannot be written.
            KDLightError: another process has it.
        """
        self._path = Path(path)
        listed = _read_list(self._path) if path else {}
        self._states: dict[str, State] = {**listed, **(look.found if new else {})}
        self._gone: dict[str, float] = {}
        """Since when (monotonic) a picture is gone, by its path."""
        self._device: int | None = None
        """File system of the last look that counted; None before it."""
        self._begun = False
        self._notes: Lines | None = None
        self._lines = 0
        self.forget(look)
        if path:
            self._notes = append_lines(path, at_once=True)[0]  # also tells whether another process has it
            try:
                self._rewrite()
            except OSError as error:
                raise SourceError(f"{path} cannot be written: {error.strerror}; name another seen=") from error

    def __len__(self) -> int:
        return len(self._states)

    def fresh(self, look: Look) -> dict[str, State]:
        """Return what was not delivered yet."""
        return {name: state for name, state in look.found.items() if self._states.get(name) != state}

    def forget(self, look: Look) -> None:
        """Forget what has been gone for long."""
        known = self._device == look.device or not look.found.keys().isdisjoint(self._states)
        if not look.found or not known:
            return
        self._device, now = look.device, time.monotonic()
        gone = [name for name in self._states if name not in look.found and not name.startswith(look.unlisted)]
        if not self._begun:
            self._begun = True
            for name in gone[:-EARLIER]:
                del self._states[name]
            gone = gone[-EARLIER:]
        since = {name: self._gone.get(name, now) for name in gone}
        self._gone = {name: then for name, then in since.items() if now - then < FORGET}
        for name in since.keys() - self._gone.keys():
            del self._states[name]

    def remember(self, name: str, state: State, look: Look) -> None:
        """Note a picture of a look that was delivered; its file system is the right one, as it had something to give.

        Raises:
            KDLightError: the list cannot be written.
        """
        self._states[name], self._device = state, look.device
        if self._notes is None:
            return
        self._notes.write(_line(name, state))
        self._lines += 1
        if self._lines > WORN * len(self._states) + SLACK:
            with contextlib.suppress(OSError):  # a full disk, say: the old list is whole, and is tried again later
                self._rewrite()

    def _rewrite(self) -> None:
        """Write the list anew without what is forgotten, whole or not at all, and go on with what is there then."""
        self.close()
        try:
            durable.write_text(self._path, "".join(f"{_line(*item)}\n" for item in self._states.items()))
        finally:
            self._notes = append_lines(self._path, at_once=True)[0]
            self._lines = len(self._states)

    def close(self) -> None:
        """Let go of the list."""
        if self._notes is not None:
            self._notes.close()


def _line(name: str, state: State) -> str:
    return json.dumps([name, *state])


def _read_list(path: Path) -> dict[str, State]:
    """Return what a list holds; a line that a kill has torn is left out, so that its picture comes again."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a list of seen pictures: {error}; name another seen=") from error
    found: dict[str, State] = {}
    for count, line in enumerate(lines, 1):
        try:
            name, size, changed = json.loads(line)
            found[str(name)] = (int(size), int(changed))
        except (ValueError, TypeError) as error:  # noqa: PERF203 - once, when the program starts
            if count < len(lines):
                raise SourceError(
                    f"{path} line {count} is not of a list of seen pictures; name another seen="
                ) from error
    return found
