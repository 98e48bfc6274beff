"""The files of an archive by their keys, on a disk or in an object store: what owns pyarrow's file systems."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException, fs

from kdlight_edge.errors import DataError, SourceError, UsageError
from kdlight_edge.picture import EXTENSIONS

SCANS = frozenset({".dcm", ".dicom", ".ima"})
"""File names that are scans, in lower case; many scanners give none, or a number."""

LARGEST_FILE = 2 << 30
"""Bytes above which a file is refused unread."""

WAITS = (0.5, 2.0)
"""Seconds before a read that failed is tried again: a store of millions of files fails now and then."""

_NUMBER = re.compile(r"\.\d*")
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")
"""How a key tells a byte that is no UTF-8: names of old disks are in other encodings, and Parquet holds only UTF-8."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Shelf:
    """A folder named by a path or a URI (``file://``, ``s3://``, ``gs://``, ``hdfs://``); used by one thread."""

    def __init__(self, uri: str) -> None:
        """Open it, and see that it is there.

        Raises:
            UsageError: no file system looks like that.
            SourceError: no folder is there, or it cannot be looked at.
        """
        self.uri = uri
        try:
            if _SCHEME.match(uri):
                self._files, self._root = fs.FileSystem.from_uri(uri)
            else:
                self._files, self._root = fs.LocalFileSystem(), os.path.abspath(uri)  # noqa: PTH100 - links stay
        except (ArrowException, ValueError, OSError) as error:
            raise UsageError(f"--folder {uri} cannot be opened: {_first_line(error)}") from error
        self._root = self._root.rstrip("/") or "/"
        self.place = self._root if isinstance(self._files, fs.LocalFileSystem) else uri
        """What names it in every process."""
        if any("\ud800" <= letter <= "\udfff" for letter in self._root):  # what Python makes of other bytes
            raise UsageError(f"--folder {uri} is no name in UTF-8; rename it, or give a link to it")
        try:
            found = self._files.get_file_info(self._root).type
        except (ArrowException, OSError) as error:
            raise SourceError(f"{uri} cannot be read: {_first_line(error)}") from error
        if found != fs.FileType.Directory:
            raise SourceError(f"{uri} is not a folder that can be read here")

    def keys(self, *, scans: bool) -> tuple[list[str], int]:
        """List what may be classified, by name alone; scans too where they are wanted.

        Returns:
            Sorted paths below the folder, and how many files are neither.

        Raises:
            SourceError: a folder cannot be listed: half an archive must not look like a whole one.
        """
        keys, others = [], 0
        try:
            for key in self._local() if isinstance(self._files, fs.LocalFileSystem) else self._remote():
                if is_picture(key) or (scans and may_be_scan(key)):
                    keys.append(key)
                else:
                    others += 1
        except (ArrowException, OSError) as error:
            raise SourceError(f"{self.uri} cannot be listed: {_first_line(error)}") from error
        return sorted(keys), others

    def _local(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise error

        for folder, folders, files in os.walk(self._root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = os.path.relpath(folder, self._root)
            before = "" if below == "." else f"{below}/"
            names = (before + name for name in files if not name.startswith("."))
            yield from (os.fsencode(name).decode("utf-8", "backslashreplace") for name in names)

    def _remote(self) -> Iterator[str]:
        start = len(self._root) + 1
        for info in self._files.get_file_info(fs.FileSelector(self._root, recursive=True)):
            key = info.path[start:]
            if info.type == fs.FileType.File and not any(part.startswith(".") for part in key.split("/")):
                yield key

    def read(self, key: str) -> bytes:
        """Return the content of one file.

        Raises:
            DataError: it cannot be read, also when tried again, is too large, or is no file; told without its name.
        """
        for wait in (*WAITS, None):
            try:
                return self._read(key)
            except (FileNotFoundError, PermissionError) as error:  # noqa: PERF203 - reading costs more
                reason = os.strerror(error.errno) if error.errno else "no such file"
                raise DataError(f"cannot be opened: {reason}") from error
            except (ArrowException, OSError) as error:
                if wait is None:
                    raise DataError(f"cannot be read: {_first_line(error)}") from error
                time.sleep(wait)
        raise AssertionError

    def _read(self, key: str) -> bytes:
        if isinstance(self._files, fs.LocalFileSystem):
            return self._read_local(f"{self._root}/{key}")
        with self._files.open_input_file(f"{self._root}/{key}") as file:
            _check_size(file.size())
            content: bytes = file.read()
            return content

    @staticmethod
    def _read_local(path: str) -> bytes:
        if not os.path.lexists(path):
            path = os.fsdecode(_ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), os.fsencode(path)))
        if not Path(path).is_file() and os.path.lexists(path):
            raise DataError("not a file: it cannot be read like one")
        with Path(path).open("rb") as file:
            _check_size(os.fstat(file.fileno()).st_size)
            return file.read()


def _check_size(size: int) -> None:
    if size > LARGEST_FILE:
        raise DataError(f"{size:,} bytes are more than {LARGEST_FILE:,}; refused unread")


def is_picture(key: str) -> bool:
    """Tell whether a name is that of a picture."""
    return PurePosixPath(key).suffix.lower() in EXTENSIONS


def may_be_scan(key: str) -> bool:
    """Tell whether a name may be that of a DICOM file: its own endings, none, or a number; but not a DICOMDIR."""
    path = PurePosixPath(key)
    suffix = path.suffix.lower()
    return path.name.upper() != "DICOMDIR" and (suffix in SCANS or _NUMBER.fullmatch(suffix or ".") is not None)


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0][:300]
