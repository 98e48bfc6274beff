"""A folder of pictures, with all folders in it, or a single picture file."""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kdlight_edge.dicom.magic import scans_in
from kdlight_edge.errors import DataError, SourceError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.picture import EXTENSIONS, NOT_A_FILE, Need, read_reduced
from kdlight_edge.sources import Patience, tell
from kdlight_edge.sources.album import InOrder

TOLD = 5
"""Endings of names that are told of files which are left out."""


class Folder(InOrder):
    """Every picture once, sorted by path; an `Album` and a `Source`."""

    def __init__(self, path: str | os.PathLike[str], report: Callable[[str], None] = tell) -> None:
        """List the pictures; ``report`` takes a line for people on the files that are left out by their names.

        Raises:
            SourceError: no such folder, no permission, or no picture in it.
        """
        self.root = os.fspath(path)
        self._entries: list[tuple[str, str]] = []
        """Path below the root, and the reason why it cannot be read ("" where that is not known yet)."""
        self._others: Counter[str] = Counter()
        """How many files are left out, by the ending of their names."""
        self._need: Need | None = None
        try:
            if os.path.isdir(self.root):  # noqa: PTH112 - strings all the way: a folder may hold a million names
                self._list("", {_identity(self.root)})
            else:
                regular = stat.S_ISREG(Path(self.root).stat().st_mode)
                self._entries.append(("", "" if regular else NOT_A_FILE))
        except OSError as error:
            raise SourceError(f"{self.root} cannot be read: {error.strerror}") from error
        if not self._entries:
            kinds = ", ".join(sorted(EXTENSIONS))
            held = f"; it holds {_counted(self._others)}" if self._others else ""
            raise SourceError(f"{self.root} holds no pictures ({kinds}), nor do the folders in it{held}")
        if self._others:  # a telephone's HEIC, say: whoever reads the results would take them for all
            report(f"{self.root} also holds files that are not read as pictures: {_counted(self._others)}")

    def _list(self, below: str, seen: set[tuple[int, int]]) -> None:
        """Collect the pictures of one folder and of those in it; ``seen`` ends a ring of links."""
        with os.scandir(os.path.join(self.root, below)) as entries:  # noqa: PTH118 - as above
            found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        for entry in found:
            name = f"{below}{entry.name}"
            folder, reason = _look_at(entry)
            if folder:
                self._descend(name + "/", seen)
            elif (ending := os.path.splitext(entry.name)[1].lower()) in EXTENSIONS:  # noqa: PTH122 - as above
                self._entries.append((name, reason))
            else:
                self._others[ending] += 1

    def _descend(self, below: str, seen: set[tuple[int, int]]) -> None:
        try:
            identity = _identity(os.path.join(self.root, below))  # noqa: PTH118 - as above
            if identity not in seen:
                seen.add(identity)
                self._list(below, seen)
        except OSError as error:
            self._entries.append((below, f"this folder cannot be listed: {error.strerror}"))

    def shrink(self, need: Need) -> None:
        """Decode of a JPEG no more than is needed from now on; see `Frame.full` and `Frame.image`."""
        self._need = need

    def listed(self) -> list[tuple[Path, str]]:
        """Return where the pictures are, in order, without reading any; each with why it cannot be ("" if unknown)."""
        return [(Path(self.root, below) if below else Path(self.root), reason) for below, reason in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame | Unreadable:
        """Read and decode one picture; may be called from several threads."""
        below, reason = self._entries[index]
        path = os.path.join(self.root, below) if below else self.root  # noqa: PTH118 - as above
        meta: dict[str, object] = {"below": below or os.path.basename(path)}  # noqa: PTH119 - as above
        started, captured = time.perf_counter(), Moment.now()
        if not reason:
            try:
                image, full = read_reduced(path, self._need)
            except DataError as error:
                reason = str(error)
        if reason:
            return Unreadable(reason, captured, path, index, meta)
        meta["decode_ms"] = (time.perf_counter() - started) * 1000
        return Frame(image, captured, path, index, 0, meta, full)


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Folder:
    """Open a folder or a picture file; it is not live, so nothing is waited for. Scans beside pictures are reported."""
    del patience
    folder = Folder(uri, report)
    if scans_in(uri):
        report(f"{uri} holds pictures and scans: the pictures are read, and the scans by --source dicom:{uri}")
    return folder


def _counted(endings: Counter[str]) -> str:
    """Name the most frequent endings: ``12 .heic, 1 .mov``."""
    parts = [f"{count:,} {ascii(ending)[1:-1] or 'without an ending'}" for ending, count in endings.most_common(TOLD)]
    more = endings.total() - sum(count for _, count in endings.most_common(TOLD))
    return ", ".join([*parts, *([f"{more:,} more"] if more else [])])


def _look_at(entry: os.DirEntry[str]) -> tuple[bool, str]:
    """Return whether an entry is a folder, and why it cannot be read like a file; of a link, what it leads to counts.

    Reading says why a link to nothing, or in a ring, cannot be.
    """
    try:
        if entry.is_dir():
            return True, ""
        regular = entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110 - as above
    except OSError:  # links in a ring
        regular = True
    return False, "" if regular else NOT_A_FILE


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino
