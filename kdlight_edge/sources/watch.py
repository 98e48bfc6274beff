"""A folder that is watched: every picture that comes into it, once it is complete, for as long as the program runs."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

from kdlight_edge.dicom.magic import NAMES
from kdlight_edge.errors import DataError, SourceError, UsageError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.picture import EXTENSIONS, ChangedError, decode, read_file
from kdlight_edge.sources import Patience, tell
from kdlight_edge.sources.seen import Look, Seen, State

TOLD = 5
"""Endings of names that are told of files which are not read."""


class Watch:
    """Every picture once, oldest first. The folder is listed again and again: it may be on any disk or network."""

    live = False
    endless = True
    """No run on it is cut short by a signal: nothing else ends one."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        poll: float = 1.0,
        settle: float = 1.0,
        giveup: float = 30.0,
        new: bool = False,
        seen: str = "",
        report: Callable[[str], None] = tell,
    ) -> None:
        """Look into the folder once.

        Args:
            path: of the folder; pictures in the folders below are found too.
            poll: seconds between two looks into the folder.
            settle: seconds that a file's size and time must stay the same before it is read.
            giveup: seconds that a file which is not a whole picture may stay as it is before it is an error.
            new: leave out what is there now.
            seen: file in which the pictures that were delivered are listed, so that another run leaves them out.
            report: takes one line for people when a folder cannot be listed, and when it can be again.

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
        self._report = report
        self._failed: dict[str, str] = {}
        """Why folders could not be listed in the last look, by their paths below; empty for the folder itself."""
        self._told: dict[str, str] = {}
        """The same, of what was told."""
        self._others: set[str] = set()
        """Endings of names of which it was told that no such file is read."""
        self._look = self._list()
        self._pending: dict[str, tuple[State, float]] = {}
        """What is not delivered yet: its state, and since when (monotonic) it is in that state."""
        self._changed: dict[tuple[str, State], float] = {}
        """Of what is pending: since when (monotonic) the opened file has another state than the listed one."""
        self._seen = Seen(seen, self._look, new=new)

    def _list(self) -> Look:
        """Look into the folder and those below.

        Raises:
            SourceError: the folder itself cannot be listed; one below that cannot is left for the next look.
        """
        self._failed = {}
        found: dict[str, State] = {}
        unlisted: list[str] = []
        folders, device = [""], 0
        while folders:
            below = folders.pop()
            try:
                if not below:
                    device = Path(self.root).stat().st_dev
                with os.scandir(os.path.join(self.root, below)) as entries:  # noqa: PTH118 - strings: a folder may hold a million names
                    for entry in entries:
                        self._note(entry, below, found, folders, unlisted)
            except OSError as error:
                self._fail(below, error)
                if not below:
                    raise SourceError(f"{self.root} cannot be watched: {error.strerror}; name a folder") from error
                unlisted.append(below)
        return Look(found, tuple(unlisted), device)

    def _note(
        self, entry: "os.DirEntry[str]", below: str, found: dict[str, State], folders: list[str], unlisted: list[str]
    ) -> None:
        if entry.name.startswith("."):
            return
        name = f"{below}{entry.name}"
        ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - as above
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            elif ending not in EXTENSIONS:
                self._leave_out(name, ending)
            elif entry.is_file():
                status = entry.stat()
                found[name] = (status.st_size, status.st_mtime_ns)
        except OSError as error:
            unlisted.append(name)  # it went away, or cannot be looked at yet: the next look tells
            self._fail(below, error)

    def _leave_out(self, name: str, ending: str) -> None:
        """Tell it once of each ending (a telephone's HEIC would be waited for), but not of names that are made up."""
        if ending not in self._others and len(self._others) < TOLD:
            self._others.add(ending)
            path = Path(self.root, name)
            if ending in NAMES:
                self._report(f"{path} is a scan: none is watched for, have them sent to dicom://HOST:PORT")
            else:
                self._report(f"{path} is not read, as its name is no picture's; nor are others of its ending")

    def _fail(self, below: str, error: OSError) -> None:
        if not below or not isinstance(error, FileNotFoundError):  # what is removed in this moment is nobody's concern
            self._failed[below] = error.strerror or str(error)

    def _tell(self) -> None:
        """Report what cannot be listed since the last look, and what can be again."""
        away = "" in self._failed  # of what is below nothing is known then
        for below in [] if away else self._told.keys() - self._failed.keys():
            self._report(f"{Path(self.root, below)} is there again")
            del self._told[below]
        for below, why in self._failed.items():
            if below not in self._told:
                place = Path(self.root, below)
                self._report(f"{place} cannot be watched: {why}; it is looked for again, its pictures wait")
            self._told[below] = why

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        self._iterated = True
        try:
            yield from self._watch()
        finally:
            self._seen.close()

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
                self._pending.pop(name, None)
                self._seen.remember(name, state, self._look)
                if self._closed.is_set():
                    return
            self.idle = time.monotonic() + self._poll
            self._closed.wait(self._poll)

    def _settled(self) -> list[tuple[str, State]]:
        """Look once; return what has stayed the same for long enough, oldest first."""
        now = time.monotonic()
        try:
            self._look = self._list()
        except SourceError:
            return []  # a share that is away: it is looked for again, and nothing is forgotten
        finally:
            self._tell()
        self._seen.forget(self._look)
        fresh, before = self._seen.fresh(self._look), self._pending
        self._pending = {
            name: before[name] if name in before and before[name][0] == state else (state, now)
            for name, state in fresh.items()
        }
        pending = {(name, state) for name, (state, _) in self._pending.items()}
        self._changed = {key: since for key, since in self._changed.items() if key in pending}
        ready = [(name, state) for name, (state, since) in self._pending.items() if now - since >= self._settle]
        return sorted(ready, key=lambda item: (item[1][1], item[0]))

    def _read(self, name: str, state: State, index: int) -> Frame | Unreadable | None:
        """Decode one file; None where it is not complete, or was changed meanwhile, and so has to wait."""
        path = os.path.join(self.root, name)  # noqa: PTH118 - as in `_list`
        meta: dict[str, object] = {"below": name}
        started, captured = time.perf_counter(), Moment.now()
        try:
            image = decode(read_file(path, state))
        except FileNotFoundError:
            return None
        except (DataError, OSError) as error:
            since = self._pending[name][1]
            if isinstance(error, ChangedError):  # the next look sees it too, or a share tells two states
                since = self._changed.setdefault((name, state), time.monotonic())
            if time.monotonic() - since < self._giveup:
                return None
            reason = f"cannot be opened: {error.strerror}" if isinstance(error, OSError) else str(error)
            return Unreadable(reason, captured, path, index, meta)
        meta["decode_ms"] = (time.perf_counter() - started) * 1000
        return Frame(image, captured, path, index, 0, meta)

    def close(self) -> None:
        """End the iteration, at once where it waits; safe to call twice."""
        self._closed.set()
        if not self._iterated:
            self._seen.close()


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Watch:
    """Open ``watch:DIR[?poll=S&settle=S&giveup=S&new=1&seen=FILE]``.

    Raises:
        UsageError: an option is unknown or has a value that cannot be.
        SourceError: the folder cannot be listed.
    """
    del patience
    path, _, query = uri.partition(":")[2].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    seconds = {name: _seconds(name, given.pop(name)) for name in ("poll", "settle", "giveup") if name in given}
    new, seen = given.pop("new", "0"), given.pop("seen", "")
    if given or new not in {"0", "1"}:
        wrong = next(iter(given), f"new={new}")
        raise UsageError(f"{uri}: {wrong!r} is unknown; there are poll, settle, giveup (seconds), new=1 and seen=FILE")
    return Watch(path, new=new == "1", seen=seen, report=report, **seconds)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (name == "poll" and value == 0):
        raise UsageError(f"watch: {name}={text} is not a time; give seconds")
    return value
