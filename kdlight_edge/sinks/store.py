"""A queue that survives kill -9: the newest texts in a `Tail`, and on the disk (SQLite) what has waited for long."""

import contextlib
import fcntl
import itertools
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.tail import Tail, place
from kdlight_edge.sources import tell

LIMIT = 64 << 20
"""Bytes of content held at most: about 100,000 predictions, an hour of a camera at 30 frames a second."""

WAITED = 5.0
"""Seconds after which a text that is still here goes to the disk, with all the others: what a power cut may take."""

TAIL_LIMIT = 8 << 20
"""Characters in the tail from which on they go to the disk at once: its folder may be in memory."""

WORN = 64 << 10
"""Size of the tail's file from which on it is begun anew."""

BLOCK = 1 << 32
"""Numbers set aside on the disk by one write: for years, as the disk may take no other. A power cut skips the rest."""

SLICE = 1000
"""Texts taken out of the file by one commit."""

_TABLES = """
CREATE TABLE IF NOT EXISTS box (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS self (name TEXT NOT NULL, last INTEGER NOT NULL);
"""


class Store:
    """Numbered texts of one line, oldest first; used by the thread that puts in and the one that takes out.

    Each `put` is one write to the kernel, and waits for no disk: it survives the end of the process at any moment.
    `tidy` brings what has waited for `WAITED` to the disk, in one commit to SQLite's write-ahead log, and waits for it;
    what is taken out earlier never gets there. A power cut takes what had not waited so long; the file is whole all
    the same, and numbers of before are not used again.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, limit: int = LIMIT, report: Callable[[str], None] = tell
    ) -> None:
        """Open or make the file; one that is damaged is put aside as FILE.damaged.

        Raises:
            KDLightError: it cannot be written, or another process has it.
        """
        self.path = Path(path)
        self.dropped = 0
        """Texts given up because there was no room; their numbers are missing in what is taken out."""
        self._held = contextlib.ExitStack()
        self._count = self._reserved = 0
        self.name = secrets.token_hex(4)
        """Drawn when the file was made: with a number it names a text in all the world."""
        self._limit, self._report, self._lock = limit, report, threading.Lock()
        self._gone: set[int] = set()
        """Taken out, and still there as the disk or the folder in memory refused it."""
        self._closed = self._unsynced = False
        self._synced = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._guard = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KDLightError(f"{self.path} cannot be written: {error.strerror}; name another --mqtt-store") from error
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._guard)
            try:
                fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._open()
            except BlockingIOError as error:
                raise KDLightError(
                    f"{self.path} is in use by another kdlight-edge; give each its own --mqtt-device or --mqtt-store"
                ) from error
            except (sqlite3.Error, OSError) as error:
                raise KDLightError(f"{self.path} cannot be written: {error}; name another --mqtt-store") from error
            undo.pop_all()

    def _open(self) -> None:
        try:
            self._connect()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_spoiled(error):
                raise
            self._begin_anew(error)

    def _begin_anew(self, error: Exception) -> None:
        """Put a spoiled file aside; one that was in use has a successor of its name, with higher numbers."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        what = str(error).partition(" with text")[0]
        self._report(f"{self.path} is damaged ({what}); it was put aside as {aside.name} and a new one begun")
        self._held.close()
        self.dropped, self._count = self.dropped + self._count, 0
        for end in ("-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(aside)
        self._connect()

    def _connect(self) -> None:
        with contextlib.ExitStack() as undo:
            self._data = self._connection(undo)
            self._data.executescript(_TABLES)
            self._data.execute("PRAGMA wal_autocheckpoint = 0")  # it waits for the disk: not in the camera's thread
            self._data.execute(
                "INSERT INTO self SELECT ?, ? WHERE NOT EXISTS (SELECT * FROM self)", (self.name, self._reserved)
            )
            self.name, self._reserved = self._data.execute("SELECT name, last FROM self").fetchone()
            self._length, self._count, newest = self._data.execute(
                "SELECT coalesce(sum(length(body)), 0), count(*), coalesce(max(number), 0) FROM box"
            ).fetchone()
            self._tail = Tail(place(self.path), self.name)
            undo.callback(self._tail.close, remove=False)
            self._last = max(self._reserved if self._tail.last is None else self._tail.last, newest)
            """The newest number that was given."""
            # Cut off between the two, a text is in both.
            young = {number: text for number, text in self._tail.texts.items() if number > newest}
            self._tail.restart(self._last, young)
            self._reserve(self._last + BLOCK, synced=True)
            self._disk = self._connection(undo)
            self._held = undo.pop_all()

    def _reserve(self, last: int, *, synced: bool = False) -> None:
        """Have numbers up to this one taken as given after a power cut; ``synced``, in no transaction, waits for it."""
        if synced:
            self._data.execute("PRAGMA synchronous = FULL")
        try:
            self._data.execute("UPDATE self SET last = ?", (last,))
        finally:
            if synced:
                self._data.execute("PRAGMA synchronous = NORMAL")
        self._reserved = last

    def _connection(self, undo: contextlib.ExitStack) -> sqlite3.Connection:
        opened = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        undo.callback(opened.close)
        opened.execute("PRAGMA page_size = 1024")  # each commit writes whole pages, and cards wear out
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA synchronous = NORMAL")
        return opened

    def __len__(self) -> int:
        return max(0, int(self._count) + len(self._tail.texts) - len(self._gone))

    def put(self, body: str) -> None:
        """Append a text of one line; the oldest ones are given up where there is no room for it.

        Raises:
            KDLightError: the disk is full or broken; the text is not there.
        """
        with self._lock, self._told():
            if self._length + self._tail.bytes + len(body) > self._limit:
                self._make_room(self._limit - len(body))
            elif self._tail.bytes > TAIL_LIMIT:
                self._settle()
            if self._last >= self._reserved:
                self._reserve(self._last + BLOCK, synced=True)
            self._tail.put(self._last + 1, body)
            self._last += 1

    def _settle(self) -> None:
        """Put what is in the tail into the file, in one commit."""
        young = dict(self._tail.texts)
        with self._commit():
            self._data.executemany("INSERT INTO box VALUES (?, ?)", young.items())
            self._reserve(self._last + BLOCK)
        self._count += len(young)
        self._length += self._tail.bytes
        try:
            self._tail.restart(self._last, {})
        except OSError:
            self._tail.forget()

    def _make_room(self, room: int) -> None:
        """Give up the oldest texts until no more than nine tenths of ``room`` are taken, so that it is done seldom."""
        self._settle()
        self._take_out()
        left, count, doomed = self._length, 0, 0
        for number, length in self._data.execute("SELECT number, length(body) FROM box ORDER BY number"):
            if left <= room * 9 // 10:
                break
            left, count, doomed = left - length, count + 1, number
        self._data.execute("DELETE FROM box WHERE number <= ?", (doomed,))
        self._length, self._count, self.dropped = left, self._count - count, self.dropped + count

    def after(self, number: int, most: int) -> list[tuple[int, str]]:
        """Return the oldest texts with numbers above ``number``, ``most`` of them at most.

        Raises:
            KDLightError: the disk is broken.
        """
        query = "SELECT number, body FROM box WHERE number > ? ORDER BY number LIMIT ?"
        with self._lock, self._told():
            found: list[tuple[int, str]] = self._data.execute(query, (number, most)).fetchall() if self._count else []
            young = ((one, text) for one, text in self._tail.texts.items() if one > number)
            return [*found, *itertools.islice(young, max(0, most - len(found)))]

    def take(self, numbers: Iterable[int]) -> None:
        """Take texts out; what the disk, or the folder in memory, refuses now is tried again by `tidy`, which tells."""
        with self._lock, contextlib.suppress(sqlite3.Error, OSError):
            self._gone.update(numbers)
            self._take_out()

    def _take_out(self) -> None:
        young = self._gone & self._tail.texts.keys()
        with contextlib.ExitStack() as undo:
            undo.callback(self._gone.update, young)
            self._gone -= young  # first: `len` waits for no lock, and is rather too high than 0
            self._tail.take(young)
            undo.pop_all()
        while some := list(itertools.islice(self._gone, SLICE)) if self._count else []:
            length = "SELECT length(body) FROM box WHERE number = ?"
            found = [row[0] for number in some if (row := self._data.execute(length, (number,)).fetchone())]
            with self._commit():
                self._data.executemany("DELETE FROM box WHERE number = ?", [(number,) for number in some])
            self._gone.difference_update(some)
            self._count -= len(found)
            self._length -= sum(found)
        self._gone.clear()

    @contextlib.contextmanager
    def _commit(self) -> Iterator[None]:
        self._data.execute("BEGIN")
        try:
            yield
            self._data.execute("COMMIT")
            self._unsynced = True
        except sqlite3.Error:
            if self._data.in_transaction:
                self._data.execute("ROLLBACK")
            raise

    def tidy(self) -> None:
        """Bring to the disk what has waited; to be called several times a second, by a thread that may wait for a disk.

        Raises:
            KDLightError: the disk is full or broken; nothing is lost while the process lives.
        """
        with self._lock, self._told():
            waited = self._tail.waited() >= WAITED
            try:
                with contextlib.suppress(*[OSError] if waited else []):  # of a full tail, for which there is room below
                    self._take_out()
                if waited:
                    self._settle()
            finally:  # a disk that refuses for months must not fill the memory
                if self._tail.size > WORN + 2 * self._tail.bytes:
                    self._tail.restart(self._last, dict(self._tail.texts))
        if waited or (self._unsynced and time.monotonic() - self._synced >= WAITED):
            self.checkpoint()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if _is_spoiled(error):  # nothing behind that page would be sent
                    self._begin_anew(error)
                raise
        except (sqlite3.Error, OSError) as error:
            what = str(error).partition(" with text")[0]
            raise KDLightError(f"{self.path} cannot be used: {what}") from error

    def checkpoint(self) -> None:
        """Bring the log to the disk and into the file, beside the writer; the next commit tells of a bad disk."""
        self._unsynced, self._synced = False, time.monotonic()
        with contextlib.suppress(sqlite3.Error):
            self._disk.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Have everything on the disk, and let go of the file; safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed, settled = True, False
            with contextlib.suppress(KDLightError), self._told():
                self._settle()
                self._reserve(self._last)
                settled = True
            self._tail.close(remove=settled)
            self._disk.close()
            self._data.close()
            os.close(self._guard)


def _is_spoiled(error: Exception) -> bool:
    """Tell damage, also of one byte in a text or in the words of a table, from a disk that is full or away."""
    told = str(error).startswith(("Could not decode", "no such column"))
    return told or not isinstance(error, sqlite3.OperationalError)
