"""A folder of CLASS folders as one album whose every picture knows which label it should have."""

import csv
import dataclasses
import os
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from kdlight_edge.apart import check_apart
from kdlight_edge.dicom.magic import scans_in
from kdlight_edge.errors import DataError, SourceError, UsageError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.picture import Need
from kdlight_edge.sources.album import InOrder
from kdlight_edge.sources.folder import Folder

LEFT_OUT = "-"
"""Label of a class that is not to be looked at."""


class Labelled(InOrder):
    """Every picture of the classes that have a label, class by class; an `Album` and a `Source`."""

    def __init__(self, parts: Mapping[Path, Mapping[str, str]]) -> None:
        """List the pictures.

        Args:
            parts: folder with the classes to class to label, as `labels_of` makes it.

        Raises:
            SourceError: a class cannot be read, or holds no picture.
        """
        self._folders = [
            (name, label, _pictures(root / name)) for root, labels in parts.items() for name, label in labels.items()
        ]
        self.labels = {name: label for name, label, _ in self._folders}
        self._ends = list(accumulate(len(folder) for _, _, folder in self._folders))

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of each class, unreadable ones included."""
        counts = dict.fromkeys(self.labels, 0)
        for name, _, folder in self._folders:
            counts[name] += len(folder)
        return counts

    def truth(self, index: int) -> str:
        """Return the label that a picture should have."""
        return self._folders[bisect_right(self._ends, index)][1]

    def listed(self) -> list[tuple[Path, str]]:
        """As `Folder.listed`."""
        return [item for _, _, folder in self._folders for item in folder.listed()]

    def shrink(self, need: Need) -> None:
        """As `Folder.shrink`."""
        for _, _, folder in self._folders:
            folder.shrink(need)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Frame | Unreadable:
        """Read and decode one picture; may be called from several threads."""
        place = bisect_right(self._ends, index)
        _, label, folder = self._folders[place]
        item = folder[index - self._ends[place] + len(folder)]
        return dataclasses.replace(item, index=index, meta={**item.meta, "truth": label})


def _pictures(folder: Path) -> Folder:
    try:
        return Folder(folder)
    except SourceError as error:
        if not scans_in(folder):
            raise
        raise SourceError(
            f"{folder} holds scans (DICOM) and no pictures, and eval judges pictures; write the frames as PNG "
            "(docs/dicom.md), or let infer --folder answer the scans"
        ) from error


def labels_of(
    roots: Sequence[str | os.PathLike[str]], ids: Sequence[str], mapping: Mapping[str, str] | None
) -> dict[Path, dict[str, str]]:
    """Return for each folder its class folders and their labels.

    Args:
        roots: folders with the classes; classes of one name are one class.
        ids: the labels of the bundle.
        mapping: class to label where the names differ; `LEFT_OUT` leaves a class out. None where there is no ``--map``.

    Raises:
        DataError: no folders, a folder without a label, or a mapping that names what is not there.
        UsageError: class folders that hold the same pictures.
    """
    found = {Path(root): _classes(root, ids) for root in roots}
    everything = {name for classes in found.values() for name in classes}
    for name, label in (mapping or {}).items():
        if name not in everything:
            where = _all([str(root) for root in roots])
            raise DataError(f"--map {name}={label} names no folder of {where}, which has {_all(everything)}")
        if label not in {LEFT_OUT, *ids}:
            raise DataError(f"--map {name}={label} names no label of the bundle, which has {_all(ids)}")
    labels = {root: _labels_of_one(root, classes, ids, mapping) for root, classes in found.items()}
    given = [Path(root) for root in roots]  # one that is given again by the same name too
    check_apart([(root, [root / name]) for root in given for name in labels[root]])
    return labels


def _classes(root: str | os.PathLike[str], ids: Sequence[str]) -> list[str]:
    try:
        classes = sorted(entry.name for entry in Path(root).iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise DataError(f"--data {root} cannot be read: {error.strerror}") from error
    if not classes:
        raise DataError(f"--data {root} holds no folders; it needs one for each class, named {_all(ids)}")
    return classes


def _labels_of_one(
    root: Path, classes: Sequence[str], ids: Sequence[str], mapping: Mapping[str, str] | None
) -> dict[str, str]:
    # Left out by --map alone: a folder of that very name is a class like others.
    given = mapping or {}
    chosen = {name: given.get(name, name) for name in classes if given.get(name) != LEFT_OUT}
    strange = [name for name, label in chosen.items() if label not in ids]
    if strange:
        test = f" (or did you mean --data {Path(root, 'test')}?)" if "test" in strange else ""
        advice = f"--map FOLDER=LABEL names the label of a folder, --map FOLDER={LEFT_OUT} leaves it out"
        if mapping is None:
            advice = "call the folders so, or judge them by kdlight-edge eval --map"
        raise DataError(
            f"folders {_all(strange)} of {root} are no labels of the bundle, which has {_all(ids)}; {advice}{test}"
        )
    if not chosen:
        raise DataError(f"--map leaves out every folder of {root}; keep one or more")
    return chosen


def read_map(entries: Sequence[str]) -> dict[str, str]:
    """Read ``FROM=TO`` pairs, and CSV files with two columns from, to (a header row of these names may be there).

    Raises:
        UsageError: an entry is neither, a row has not two fields, or a class has two labels.
    """
    mapping: dict[str, str] = {}
    for entry in entries:
        for name, label in _pairs(entry):
            if mapping.setdefault(name, label) != label:
                raise UsageError(f"--map gives {name} both {mapping[name]} and {label}; keep one")
    return mapping


def _pairs(entry: str) -> list[tuple[str, str]]:
    if entry.lower().endswith(".csv"):
        return _rows(entry)
    name, equals, label = entry.partition("=")
    if not (name and equals and label):
        raise UsageError(f"--map {entry} is neither FROM=TO nor a .csv file")
    return [(name, label)]


def _rows(file: str) -> list[tuple[str, str]]:
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--map {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for row in rows:
        if len(row) != 2:  # noqa: PLR2004 - from and to
            raise UsageError(f"--map {file} has the row {','.join(row)!r} where two fields from,to should be")
    pairs = [(row[0].strip(), row[1].strip()) for row in rows]
    return pairs[1:] if pairs and pairs[0] == ("from", "to") else pairs


def _all(names: Collection[str]) -> str:
    return ", ".join(names)
