"""Telling DICOM by content, not by name: scanners name their files ``IM000001`` or anything else."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from kdlight_edge.picture import EXTENSIONS

MAGIC = slice(128, 132)
"""Where ``DICM`` stands in a DICOM file (PS3.10, 7.1)."""

LOOKED_AT = 16
"""Files of a folder that are looked at to tell what it holds."""

NAMES = frozenset({".dcm", ".dicom"})
"""Endings of names, in lower case, that say that a file is a scan: one that is none is told."""

_LISTS = ("DICOMDIR", "dicomdir")
"""Name of the list that a medium has (PS3.10, 8.6); Linux shows the names of a CD in small letters."""


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Tell whether a regular file has ``DICM`` at its place, `MAGIC`.

    Raises:
        OSError: it may not be opened.
    """
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(MAGIC.stop)[MAGIC] == b"DICM"


def is_dicom_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds scans and no pictures, by the first few files found in it; a DICOMDIR says so alone.

    A CD for patients has a program to look at the scans with, and so logos and icons.
    """
    if any(_is_dicom(Path(path, name)) for name in _LISTS):
        return True
    files = list(itertools.islice(_files(path), LOOKED_AT))
    if any(file.suffix.lower() in EXTENSIONS for file in files):
        return False
    return any(map(_is_dicom, files))


def scans_in(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder without pictures holds scans, by content or name: for the error that says what it holds."""
    files = itertools.islice(_files(path), LOOKED_AT)
    return any(file.suffix.lower() == ".dcm" or _is_dicom(file) for file in files)


def _is_dicom(file: Path) -> bool:
    try:
        return is_dicom(file)
    except OSError:
        return False


def _files(path: str | os.PathLike[str]) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in files if not name.startswith("."))
