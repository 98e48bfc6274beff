"""A folder that is watched: every picture that comes into it, once it is complete, for as long as the program runs."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

from kdlight_edge.errors import DataError, SourceError, UsageError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.picture import EXTENSIONS, read_picture
from kdlight_edge.sinks.lines import Lines, append_lines
from kdlight_edge.sources import Patience

_OPTIONS = {"poll": 1.0, "settle": 1.0, "giveup": 30.0}
"""Seconds: between two looks into the folder; how long a file's size and time must stay the same before it is read;
how long a file that is not a whole picture may stay as it is before it is reported as unreadable."""

State = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: a file with another state is another picture."""


class Watch:
    """Every picture once, oldest first. The folder is listed again and again: it may be on any disk or network."""

    live = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        poll: float = 1.0,
        settle: float = 1.0,
        giveup: float = 30.0,
        new: bool = False,
        seen: str = "",
    ) -> None:
        """Look into the folder once.

        Args:
            path: of the folder; pictures in the folders below are found too.
            poll: as `_OPTIONS`, like the next two.
            settle: see there.
            giveup: see there.
            new: leave out what is there now.
            seen: file in which the pictures that were delivered are listed, so that another run leaves them out.

        Raises:
            SourceError: no such folder, or it may not be listed.
            KDLightError: the list cannot be written, or another process has it.
        """
        self.root = os.fspath(path)
        self._poll, self._settle, self._giveup = poll, settle, giveup
        self._closed = threading.Event()
        self._iterated = False
        self.idle: float | None = None
        """See `Idle`: when the look into the folder began, or begins next."""
        found = self._list()
        self._seen: dict[str, State] = dict(found) if new else {}
        self._pending: dict[str, tuple[State, float]] = {}
        """What is not delivered yet: its state, and since when (monotonic) it is in that state."""
        self._notes: Lines | None = None
        if seen:
            self._seen |= {name: state for name, state in _read_list(Path(seen)).items() if found.get(name) == state}
            self._notes = _begin_list(Path(seen), self._seen)

    def _list(self) -> dict[str, State]:
        """Return the state of every picture in the folder and below, by its path below the root.

        Raises:
            SourceError: the folder itself cannot be listed; one below that cannot is left for the next look.
        """
        found: dict[str, State] = {}
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                with os.scandir(os.path.join(self.root, below)) as entries:  # noqa: PTH118 - strings: a folder may hold a million names
                    for entry in entries:
                        self._note(entry, below, found, folders)
            except OSError as error:
                if not below:
                    raise SourceError(f"{self.root} cannot be watched: {error.strerror}; name a folder") from error
        return found

    @staticmethod
    def _note(entry: "os.DirEntry[str]", below: str, found: dict[str, State], folders: list[str]) -> None:
        if entry.name.startswith("."):
            return
        name = f"{below}{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            elif os.path.splitext(name)[1].lower() in EXTENSIONS and entry.is_file():  # noqa: PTH122 - as above
                status = entry.stat()
                found[name] = (status.st_size, status.st_mtime_ns)
        except OSError:
            return  # it went away, or cannot be looked at yet: the next look tells

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        self._iterated = True
        try:
            yield from self._watch()
        finally:
            self._let_go()

    def _watch(self) -> Iterator[Frame | Unreadable]:
        index = 0
        while not self._closed.is_set():
            self.idle = time.monotonic()
            ready = self._settled()
            self.idle = None
            for name, state in ready:
                item = self._read(name, state, index)
                if item is None:
                    continue
                index += 1
                yield item
                # Asked for the next one, so this one was classified and written.
                self._remember(name, state)
                if self._closed.is_set():
                    return
            self.idle = time.monotonic() + self._poll
            self._closed.wait(self._poll)

    def _settled(self) -> list[tuple[str, State]]:
        """Look once; return what has stayed the same for long enough, oldest first."""
        now = time.monotonic()
        try:
            found = self._list()
        except SourceError:
            return []  # a share that is away: it is looked for again, and nothing is forgotten
        self._seen = {name: state for name, state in self._seen.items() if name in found}
        fresh = {name: state for name, state in found.items() if self._seen.get(name) != state}
        before = self._pending
        self._pending = {
            name: before[name] if name in before and before[name][0] == state else (state, now)
            for name, state in fresh.items()
        }
        ready = [(name, state) for name, (state, since) in self._pending.items() if now - since >= self._settle]
        return sorted(ready, key=lambda item: (item[1][1], item[0]))

    def _read(self, name: str, state: State, index: int) -> Frame | Unreadable | None:
        """Decode one file; None where it is not complete, or was changed meanwhile, and so has to wait."""
        path = os.path.join(self.root, name)  # noqa: PTH118 - as in `_list`
        meta: dict[str, object] = {"below": name}
        started, captured = time.perf_counter(), Moment.now()
        try:
            status = Path(path).stat()
            if (status.st_size, status.st_mtime_ns) != state:
                return None
            image = read_picture(path)
        except FileNotFoundError:
            return None
        except (DataError, OSError) as error:
            if time.monotonic() - self._pending[name][1] < self._giveup:
                return None
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            return Unreadable(reason, captured, path, index, meta)
        meta["decode_ms"] = (time.perf_counter() - started) * 1000
        return Frame(image, captured, path, index, 0, meta)

    def _remember(self, name: str, state: State) -> None:
        self._seen[name] = state
        self._pending.pop(name, None)
        if self._notes is not None:
            self._notes.write(json.dumps([name, *state]))

    def close(self) -> None:
        """End the iteration, at once where it waits; safe to call twice."""
        self._closed.set()
        if not self._iterated:
            self._let_go()

    def _let_go(self) -> None:
        if self._notes is not None:
            self._notes.close()


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


def _begin_list(path: Path, seen: dict[str, State]) -> Lines:
    """Write the list anew without what is gone, whole or not at all, and go on with it."""
    lines, _, _ = append_lines(path, at_once=True)  # also tells whether another process has it
    fresh = path.with_name(f".{path.name}.new")
    try:
        text = "".join(f"{json.dumps([name, *state])}\n" for name, state in seen.items())
        fresh.write_text(text, encoding="ascii")
        fresh.replace(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}; name another seen=") from error
    finally:
        lines.close()
    return append_lines(path, at_once=True)[0]


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Watch:
    """Open ``watch:DIR[?poll=S&settle=S&giveup=S&new=1&seen=FILE]``.

    Raises:
        UsageError: an option is unknown or has a value that cannot be.
        SourceError: the folder cannot be listed.
    """
    del patience, report
    path, _, query = uri.partition(":")[2].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    seconds = {name: _seconds(name, given.pop(name)) for name in _OPTIONS if name in given}
    new, seen = given.pop("new", "0"), given.pop("seen", "")
    if given or new not in {"0", "1"}:
        wrong = next(iter(given), f"new={new}")
        raise UsageError(f"{uri}: {wrong!r} is unknown; there are poll, settle, giveup (seconds), new=1 and seen=FILE")
    return Watch(path, new=new == "1", seen=seen, **seconds)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (name == "poll" and value == 0):
        raise UsageError(f"watch: {name}={text} is not a time; give seconds")
    return value
