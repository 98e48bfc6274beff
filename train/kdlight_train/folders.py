"""A folder of pictures to a list of files with their classes: ``train/CLASS/*`` with its siblings, or ``CLASS/*``."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.apart import check_apart, read_twice
from kdlight_edge.dicom.magic import scans_in
from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.labelled import LEFT_OUT
from kdlight_edge.picture import EXTENSIONS
from kdlight_edge.strict import one_line

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names, in lower case, under which data sets in the wild carry their parts."""

PLAIN = "all"
"""The part of a folder that holds its classes directly and is still to be split."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file with a picture's name in a class folder."""

    path: Path
    label: str
    part: str
    """``train``, ``val``, ``test`` or `PLAIN`."""
    relative: str
    """Path below the part's folder, with ``/``: class and file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in one data folder."""

    entries: tuple[Entry, ...]
    """In the order of part, class and name."""
    folders: Mapping[str, Path]
    """Part to its folder."""
    ignored: tuple[Path, ...]
    """Hidden files, files that are not pictures, pictures outside the class folders, links in a ring."""
    beside: tuple[str, ...] = ()
    """Names of the folders beside those of the parts, which are not read."""


def check_paths(paths: Sequence[Path]) -> None:
    """Refuse data paths of which two hold the same pictures: they would count twice, and on two sides of a cut.

    Raises:
        UsageError: see above.
    """
    check_apart([(path, _read_for(path)) for path in paths])


def check_foreign(paths: Sequence[Path], foreign: Sequence[Path]) -> None:
    """Refuse folders of other things that hold pictures of the data paths: a student's own would be its outliers.

    Raises:
        UsageError: see above; the message names both.
    """
    for other in foreign:
        shown = train_of(other)
        for path in paths:
            if read_twice([(path, _read_for(path)), (other, [shown])]):
                raise UsageError(f"--foreign {other} holds pictures of --data {path}; give other things only")


def train_of(root: Path) -> Path:
    """Return the folder of the training part, by whichever of its names, or the folder itself where there is none."""
    try:
        return _parts(root).get("train", root)
    except (OSError, DataError):
        return root


def files_below(root: Path) -> list[Path]:
    """Return the pictures of a folder and its subfolders in a fixed order; hidden ones and links in a ring are none.

    Raises:
        OSError: a folder cannot be read.
    """
    return [file for file in _pictures(root, [], set()) if file.is_file()]


def _read_for(path: Path) -> list[Path]:
    """Return the folders that are read for a data path; itself where it is an archive, or is told when it is listed."""
    try:
        return [*_parts(path).values()]
    except (OSError, DataError):
        return [path]


def list_folder(root: Path) -> Listing:
    """List a data folder without opening a picture.

    Raises:
        DataError: it is not there, cannot be read, is empty or has no two class folders with pictures.
    """
    try:
        folders = _parts(root)
        ignored: list[Path] = []
        entries: list[Entry] = []
        for part, folder in folders.items():
            entries += _list_part(part, folder, ignored)
        beside = () if PLAIN in folders else tuple(sorted({*_folders(root)} - {one.name for one in folders.values()}))
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{where} cannot be read: {error.strerror}; check the path and its permissions") from error
    return Listing(tuple(entries), folders, tuple(ignored), beside)


def _parts(root: Path) -> dict[str, Path]:
    """Find the folders of the parts; the folder itself is `PLAIN` where there are none."""
    inside = _folders(root)
    found: dict[str, Path] = {}
    for part, names in PARTS.items():
        matching = [name for name in inside if name.lower() in names]
        if len(matching) > 1:
            raise DataError(f"{root} holds {' and '.join(matching)}, which both mean {part}; keep one of them")
        if matching:
            found[part] = root / matching[0]
    if found and "train" not in found:
        only = " and ".join(f"{folder.name}/" for folder in found.values())
        raise DataError(f"{root} holds {only} but no train/; add it, or give the folder that holds the class folders")
    return found or {PLAIN: root}


def _folders(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if (root / name).is_dir() and not _hidden(name))  # noqa: PTH208 - raises the clear OSError of a missing folder


def _list_part(part: str, folder: Path, ignored: list[Path]) -> list[Entry]:
    """List the class folders of one part; what is no picture goes to ``ignored``."""
    classes, loose = [], []
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - one system call a folder of a hundred thousand files
        path = folder / name
        if _hidden(name):
            ignored.append(path)
        elif path.is_dir():
            classes.append(path)
            _check_name(path)
        elif path.suffix.lower() in EXTENSIONS:
            loose.append(path)
    ignored += loose
    _check_classes(part, folder, classes, len(loose))
    entries = []
    for path in classes:
        inside = [_entry(part, folder, path.name, file) for file in _pictures(path, ignored, set())]
        if not inside and part in {"train", PLAIN}:
            scans = "scans (DICOM) and no picture; write their frames as PNG (docs/dicom.md)"
            held = scans if scans_in(path) else "no picture; add pictures or remove the folder"
            raise DataError(f"class folder {path} holds {held}")
        entries += inside
    return entries


def _check_name(folder: Path) -> None:
    """Refuse what cannot be the name of a class in a bundle; names of pictures go nowhere and may be any."""
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"class folder {str(folder)!a} has a name that is not UTF-8; rename it") from error
    if not one_line(folder.name):
        raise DataError(f"class folder {str(folder)!a} has a line break or control character in its name; rename it")
    if folder.name == LEFT_OUT:
        raise DataError(f"class folder {folder} has a name that means a class left out (eval --map); rename it")


def _check_classes(part: str, folder: Path, classes: list[Path], loose: int) -> None:
    if not classes and loose:
        raise DataError(f"{folder} holds {loose} pictures but no class folders; sort them into {folder}/CLASS/")
    if not classes:
        raise DataError(f"{folder} is empty: no class folders with pictures; put pictures into {folder}/CLASS/")
    if len(classes) == 1 and part in {"train", PLAIN}:
        raise DataError(
            f"{folder} holds one class folder only ('{classes[0].name}') and a classifier needs two; "
            "give the folder that holds the class folders"
        )


def _pictures(folder: Path, ignored: list[Path], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Walk one class folder, subfolders too, in a fixed order; ``seen`` ends a ring of links."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        ignored.append(folder)
        return
    seen.add((status.st_dev, status.st_ino))
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - as above
        path = folder / name
        if _hidden(name):
            ignored.append(path)
        elif path.is_dir():
            yield from _pictures(path, ignored, seen)
        elif path.suffix.lower() in EXTENSIONS:
            yield path
        else:
            ignored.append(path)


def _entry(part: str, folder: Path, label: str, path: Path) -> Entry:
    return Entry(path, label, part, path.relative_to(folder).as_posix())


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
