"""DICOM files: one, or all in a folder and the folders below, told by their content and not by their names."""

import errno
import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import Dataset

from kdlight_edge.dicom.magic import NAMES, is_dicom
from kdlight_edge.dicom.scan import frame_of, frames_in, read
from kdlight_edge.errors import DataError, SourceError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.sources import Patience
from kdlight_edge.sources.album import InOrder

HELD = 4
"""Files kept open as objects: workers that decode the frames of one file together read it once."""


class DicomFolder(InOrder):
    """Every frame of every DICOM file once, sorted by path; an `Album` and a `Source`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """List the files and count their frames by their headers; a file of `NAMES` has one at least.

        Raises:
            SourceError: no such folder, no permission, or no DICOM file in it.
        """
        self.root = os.fspath(path)
        self._entries: list[tuple[str, int]] = []
        """Path below the root, and number of the frame."""
        self._read = functools.lru_cache(maxsize=HELD)(self._object)
        try:
            if Path(self.root).is_dir():
                self._list()
            else:
                # Named by the user: it is read whatever its first bytes are, and its line says what is wrong.
                regular = stat.S_ISREG(Path(self.root).stat().st_mode)
                self._entries = [("", number) for number in range(frames_in(self.root) if regular else 1)]
        except OSError as error:
            raise SourceError(f"{self.root} cannot be read: {error.strerror}") from error
        if not self._entries and not Path(self.root).is_dir():
            raise SourceError(f"{self.root} is a list of scans (DICOMDIR); name the folder that it lies in")
        if not self._entries:
            raise SourceError(
                f"{self.root} holds no DICOM scans, nor do the folders in it; a scan has DICM at byte 128"
            )

    def _list(self) -> None:
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        for folder, folders, files in os.walk(self.root, onerror=self._closed_folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in files if not name.startswith(".")):
                path = Path(folder) / name
                try:
                    count = frames_in(str(path)) if is_dicom(path) else int(path.suffix.lower() in NAMES)
                except OSError:
                    count = 1  # its line will say why it cannot be opened
                below = os.path.relpath(path, self.root)
                self._entries += [(below, number) for number in range(count)]

    def _closed_folder(self, error: OSError) -> None:
        self._entries.append((os.path.relpath(error.filename, self.root), 0))

    def listed(self) -> list[tuple[Path, str]]:
        """Return every file once; why one cannot be read is told when it is."""
        return [(Path(self.root, below), "") for below in dict.fromkeys(below for below, _ in self._entries)]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame | Unreadable:
        """Read and decode one frame; may be called from several threads."""
        below, number = self._entries[index]
        path = str(Path(self.root) / below) if below else self.root
        captured, more = Moment.now(), {"below": below or Path(path).name}
        try:
            dataset = self._read(path)
        except DataError as error:
            return Unreadable(str(error), captured, path, index, more)
        if number:
            more["below"] = f"{more['below']}-{number + 1:05}"
        return frame_of(dataset, number, captured=captured, source=path, index=index, more=more)

    @staticmethod
    def _object(path: str) -> Dataset:
        if Path(path).is_dir():
            raise DataError("this folder cannot be listed")
        if Path(path).exists() and not Path(path).is_file():
            raise DataError("not a file: it cannot be read like one")
        return read(path)

    def close(self) -> None:
        """End the iteration and let go of the files."""
        super().close()
        self._read.cache_clear()


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> DicomFolder:
    """Open ``dicom:PATH`` or a plain path; it is not live, so nothing is waited for and nothing reported."""
    del patience, report
    return DicomFolder(uri.removeprefix("dicom:"))
