"""A queue on the disk (SQLite): what was put in is there after kill -9, in order, until it is taken out."""

import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kdlight_edge.errors import KDLightError
from kdlight_edge.sources import tell

LIMIT = 64 << 20
"""Bytes of content held at most: about 100,000 predictions, an hour of a camera at 30 frames a second."""

_TABLES = """
CREATE TABLE IF NOT EXISTS box (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS self (name TEXT NOT NULL, last INTEGER NOT NULL);
"""


class Store:
    """Numbered texts, oldest first; used by the thread that puts in and the one that takes out.

    Each `put` is one commit to SQLite's write-ahead log without waiting for the disk (``synchronous=NORMAL``): it
    survives the end of the process at any moment. `checkpoint` waits for the disk; what was put in after the last one
    may be missing after a power cut, the file is whole all the same.
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
        self._limit = limit
        self._lock = threading.Lock()
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._guard = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KDLightError(f"{self.path} cannot be written: {error.strerror}; name another --mqtt-store") from error
        try:
            self._take_lock()
            self._open(report)
        except BaseException:
            os.close(self._guard)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise KDLightError(
                f"{self.path} is in use by another kdlight-edge; give each its own --mqtt-device or --mqtt-store"
            ) from error

    def _open(self, report: Callable[[str], None]) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            raise KDLightError(f"{self.path} cannot be written: {error}; name another --mqtt-store") from error
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            report(f"{self.path} is damaged ({error}); it was put aside as {aside.name} and a new one begun")
            for end in ("-wal", "-shm"):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
            self.path.replace(aside)
            self._connect()

    def _connect(self) -> None:
        with contextlib.ExitStack() as undo:
            self._data = self._connection(undo)
            self._data.executescript(_TABLES)
            self._data.execute("PRAGMA wal_autocheckpoint = 0")  # it waits for the disk: not in the camera's thread
            self._data.execute(
                "INSERT INTO self SELECT ?, 0 WHERE NOT EXISTS (SELECT * FROM self)", (secrets.token_hex(4),)
            )
            self.name, taken = self._data.execute("SELECT name, last FROM self").fetchone()
            """Drawn when the file was made: with a number it names a text in all the world."""
            self._bytes, self._count, newest = self._data.execute(
                "SELECT coalesce(sum(length(body)), 0), count(*), coalesce(max(number), 0) FROM box"
            ).fetchone()
            self._last = max(taken, newest)
            """The newest number; written down with each deletion, so that none is used again."""
            self._disk = self._connection(undo)
            undo.pop_all()

    def _connection(self, undo: contextlib.ExitStack) -> sqlite3.Connection:
        opened = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        undo.callback(opened.close)
        opened.execute("PRAGMA page_size = 1024")  # each commit writes whole pages, and cards wear out
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA synchronous = NORMAL")
        return opened

    def __len__(self) -> int:
        return int(self._count)

    def put(self, body: str) -> None:
        """Append a text; the oldest ones are given up where there is no room for it.

        Raises:
            KDLightError: the disk is full or broken; the text is not there.
        """
        with self._lock, self._told():
            if self._bytes + len(body) > self._limit:
                self._make_room(self._limit - len(body))
            self._data.execute("INSERT INTO box VALUES (?, ?)", (self._last + 1, body))
            self._last += 1
            self._bytes += len(body)
            self._count += 1

    def _make_room(self, room: int) -> None:
        """Give up the oldest texts until no more than nine tenths of ``room`` are taken, so that it is done seldom."""
        left, count, doomed = self._bytes, 0, 0
        for number, length in self._data.execute("SELECT number, length(body) FROM box ORDER BY number"):
            if left <= room * 9 // 10:
                break
            left, count, doomed = left - length, count + 1, number
        self._data.execute("UPDATE self SET last = ?", (self._last,))
        self._data.execute("DELETE FROM box WHERE number <= ?", (doomed,))
        self._bytes, self._count, self.dropped = left, self._count - count, self.dropped + count

    def after(self, number: int, most: int) -> list[tuple[int, str]]:
        """Return the oldest texts with numbers above ``number``, ``most`` of them at most.

        Raises:
            KDLightError: the disk is broken.
        """
        query = "SELECT number, body FROM box WHERE number > ? ORDER BY number LIMIT ?"
        with self._lock, self._told():
            return self._data.execute(query, (number, most)).fetchall()

    def take(self, numbers: Iterable[int]) -> None:
        """Take texts out, all of them or none.

        Raises:
            KDLightError: the disk is full or broken; they are all still there.
        """
        wanted = [(number,) for number in numbers]
        with self._lock, self._told():
            self._data.execute("BEGIN")
            try:
                length = "SELECT length(body) FROM box WHERE number = ?"
                found = [row[0] for number in wanted if (row := self._data.execute(length, number).fetchone())]
                self._data.execute("UPDATE self SET last = ?", (self._last,))
                self._data.executemany("DELETE FROM box WHERE number = ?", wanted)
                self._data.execute("COMMIT")
            except sqlite3.Error:
                if self._data.in_transaction:
                    self._data.execute("ROLLBACK")
                raise
            self._count -= len(found)
            self._bytes -= sum(found)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise KDLightError(f"{self.path} cannot be used: {error}") from error

    def checkpoint(self) -> None:
        """Bring the log to the disk and into the file, beside the writer; a full disk is left to `put` to tell."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._disk.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._disk.close()
            self._data.close()
            os.close(self._guard)


def default_path(device: str) -> Path:
    """Return where a device's store lies: systemd's state folder of the service, else the user's."""
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state) / f"mqtt-{device}.sqlite"
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "kdlight-edge" / f"mqtt-{device}.sqlite"
