"""The newest texts of a store, in a file that outlives the process: in memory where systemd gives a folder there."""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdlight_devices.kernel import boot


class Tail:
    """Numbered texts that most often are taken out before they would be worth a write to the disk.

    The file holds a line for each change: ``+NUMBER TEXT`` put in, ``-NUMBER`` taken out; the first says of which store
    and which boot of the machine it is, and the last number given. A line is one write to the kernel, which keeps it
    whatever becomes of the process; nothing waits for a disk. After another boot it is not believed: without
    that wait nobody knows what of it had reached a disk.
    """

    def __init__(self, path: Path, store: str) -> None:
        """Open or make the file.

        Args:
            path: of one store, which sees to it that no other process has it.
            store: name of the store; a file of another one counts as none.

        Raises:
            OSError: it cannot be written.
        """
        self.path = path
        self.texts: dict[int, str] = {}
        self.last: int | None = None
        """The newest number that the file knows of; None where there was no file to be believed."""
        self.size = 0
        self.bytes = 0
        """Characters of the texts."""
        self._since: dict[int, float] = {}
        self._head = f"={store} {boot()}"
        self._handle = -1
        self._read()

    def _read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            lines = self.path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]  # a torn one has no end
            if lines and lines[0].startswith(f"{self._head} "):
                self._replay(lines)

    def _replay(self, lines: list[str]) -> None:
        with contextlib.suppress(ValueError):
            self.last = int(lines[0].rpartition(" ")[2])
        for line in lines[1:]:
            number, _, text = line[1:].partition(" ")
            if not number.isdigit():
                continue
            if line[0] == "+":
                self.texts[int(number)] = text
                self.last = max(self.last or 0, int(number))
            else:
                self.texts.pop(int(number), None)
        self.bytes = sum(map(len, self.texts.values()))
        self._since = dict.fromkeys(self.texts, time.monotonic())

    def restart(self, last: int, keep: Mapping[int, str]) -> None:
        """Begin the file anew, whole or not at all.

        Raises:
            OSError: there is no room for it; the old one is still there.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        content = "".join(
            [f"{self._head} {last}\n", *(f"+{number} {text}\n" for number, text in keep.items())]
        ).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_APPEND
        handle = os.open(beside, flags, 0o600)
        try:
            _write(handle, content, 0)
            beside.replace(self.path)
        except OSError:
            os.close(handle)
            beside.unlink(missing_ok=True)
            raise
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self.size, self.last = handle, len(content), last
        self.texts = dict(keep)
        self._since = {number: self._since[number] for number in keep}
        self.bytes = sum(map(len, keep.values()))

    def put(self, number: int, text: str) -> None:
        """Append a text of one line.

        Raises:
            OSError: there is no room; it is not there.
        """
        self._append(f"+{number} {text}\n")
        self.texts[number], self._since[number] = text, time.monotonic()
        self.bytes += len(text)
        self.last = number

    def take(self, numbers: Iterable[int]) -> int:
        """Take texts out, and return how many were there.

        Raises:
            OSError: there is no room to say so; they are all still there.
        """
        found = [number for number in numbers if number in self.texts]
        if found:
            self._append("".join(f"-{number}\n" for number in found))
        for number in found:
            self.bytes -= len(self.texts.pop(number))
            del self._since[number]
        return len(found)

    def _append(self, line: str) -> None:
        if not self.size:
            self.restart(self.last or 0, self.texts)
        content = line.encode()
        _write(self._handle, content, self.size)
        self.size += len(content)

    def waited(self) -> float:
        """Return for how many seconds the oldest text has been here; 0 without one."""
        return time.monotonic() - next(iter(self._since.values())) if self._since else 0.0

    def forget(self) -> None:
        """Empty the file, which never fails: the texts are elsewhere, and the next number is the store's to say."""
        os.ftruncate(self._handle, 0)
        self.texts, self._since, self.size, self.bytes = {}, {}, 0, 0

    def close(self, *, remove: bool) -> None:
        """Let go of the file; ``remove`` it where it holds nothing that is not elsewhere."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle, self.size = -1, 0  # whatever comes after begins the file anew
        if remove:
            self.path.unlink(missing_ok=True)


def _write(handle: int, content: bytes, size: int) -> None:
    """Append all of it or, where there is no room, nothing."""
    written = os.write(handle, content)
    if written < len(content):
        os.ftruncate(handle, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def place(store: Path) -> Path:
    """Return where the tail of a store lies: in the folder in memory of a systemd service, else beside the store."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / f"{store.name}.tail"
    return store.with_name(f"{store.name}.tail")
