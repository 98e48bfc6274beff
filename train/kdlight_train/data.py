"""Folders of labelled pictures, one or several, to training, validation and test pictures that share no group."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.errors import DataError, UsageError
from kdlight_train.duplicates import group_near
from kdlight_train.folders import PLAIN, Entry, check_paths, list_folder
from kdlight_train.groups import Grouping, group_by_name, group_by_own_tables, group_by_table
from kdlight_train.medmnist import read_archive
from kdlight_train.pictures import BadPicture, Loaded, Picture, Split, counts, identify, load
from kdlight_train.split import cut

__all__ = ["BadPicture", "Data", "Loaded", "Picture", "Split", "load", "open_data"]

Parts = Mapping[str, tuple[Picture, ...]]
"""``train``, ``val`` and ``test`` (those that are there), or `PLAIN`, to pictures."""


@dataclass(frozen=True)
class Data:
    """Labelled pictures, split."""

    labels: tuple[str, ...]
    """Names of the classes, sorted; their place is the index in the logits."""
    train: Split
    val: Split
    test: Split | None
    """None where the data came with a training folder and no test folder."""
    fingerprint: str
    """SHA-256 over content, class and part of every picture: the same for the same data wherever it lies.

    Where groups are named, a cut follows the names of the data folders too: one that was renamed has another.
    """
    unreadable: tuple[BadPicture, ...]
    """Files named like pictures that cannot be opened or are not whole; they are in no split."""
    notes: tuple[str, ...]
    """What the user should know before training, a line each."""

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name; ``test`` only where there is one."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the pictures by split and class."""
        return {name: counts(split.pictures, self.labels) for name, split in self.splits.items()}


@dataclass(frozen=True, slots=True)
class _Opened:
    """One data path, not yet split."""

    name: str
    labels: tuple[str, ...]
    parts: Parts
    unreadable: tuple[BadPicture, ...] = ()
    notes: tuple[str, ...] = ()


def open_data(
    paths: Sequence[Path],
    *,
    groups: Sequence[Path] = (),
    group_regex: str | None = None,
    val_share: float = 0.15,
    test_share: float = 0.15,
    seed: int = 0,
) -> Data:
    """Open labelled pictures and split them where they are not split.

    ``DIR/train/CLASS/*`` with ``val/`` and ``test/`` beside it is taken as it lies: a missing ``val/`` is cut from
    ``train/``, a missing ``test/`` stays missing, and ``test/`` is never mixed in. ``DIR/CLASS/*`` is split in three. A
    MedMNIST ``.npz`` file carries its parts. Several paths are split each by itself, then pooled by class name.

    A cut is stratified by class and never separates a group. Groups come from ``groups``, or ``group_regex``, or a
    ``train_sources.csv`` beside ``train/``; a picture without one is grouped with its near-duplicates. Groups of
    different paths are different.

    Args:
        paths: folders or archives.
        groups: one CSV file a path (see `group_by_table`), or none.
        group_regex: its first capture group, searched in the file name, is the group.
        val_share: share of each class to validate with, where it must be cut.
        test_share: share of each class to test with, where the folder is plain.
        seed: of the cut.

    Raises:
        DataError: pictures, classes or tables that cannot be used; the message says which and what to do.
        UsageError: arguments that do not fit together, or paths that hold the same pictures.
    """
    _check_arguments(paths, groups, group_regex, val_share, test_share)
    if len(paths) > 1:
        check_paths(paths)
    opened = []
    for index, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        if path.suffix.lower() == ".npz":
            opened.append(_open_archive(path, grouped=bool(groups) or group_regex is not None))
        else:
            opened.append(_open_folder(path, name, groups[index] if groups else None, group_regex))
    labels = _same_labels(paths, opened)
    pooled: dict[str, list[Picture]] = {"train": [], "val": [], "test": []}
    notes = [note for one in opened for note in one.notes]
    for path, one in zip(paths, opened, strict=True):
        for part, members in _split(path, one, labels, val_share, test_share, seed).items():
            pooled[part] += members
        if len(paths) > 1 and pooled["test"] and not {PLAIN, "test"} & one.parts.keys():
            notes.append(f"{path} has no test/: the test pictures are those of the other folders")
    notes += _absent(labels, pooled)
    return _data(labels, pooled, opened, notes)


def _data(
    labels: tuple[str, ...], pooled: Mapping[str, Sequence[Picture]], opened: Sequence[_Opened], notes: Sequence[str]
) -> Data:
    test = Split(tuple(pooled["test"])) if pooled["test"] else None
    return Data(
        labels=labels,
        train=Split(tuple(pooled["train"])),
        val=Split(tuple(pooled["val"])),
        test=test,
        fingerprint=_fingerprint(labels, pooled),
        unreadable=tuple(bad for one in opened for bad in one.unreadable),
        notes=tuple(notes),
    )


def _absent(labels: tuple[str, ...], pooled: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Name the classes that a given val/ or test/ does not hold."""
    return [
        f"{part} holds no picture of class '{label}': its sensitivity cannot be measured there"
        for part, members in pooled.items()
        for label, number in counts(members, labels).items()
        if members and not number
    ]


def _check_arguments(
    paths: Sequence[Path], groups: Sequence[Path], group_regex: str | None, val_share: float, test_share: float
) -> None:
    if not paths:
        raise UsageError("no data given; --data DIR names a folder of pictures")
    if groups and group_regex is not None:
        raise UsageError("--groups and --group-regex both name the groups; give one of them")
    if groups and len(groups) != len(paths):
        raise UsageError(f"{len(groups)} tables with --groups for {len(paths)} data folders; give one for each")
    if not (val_share > 0 and test_share > 0 and val_share + test_share < 1):
        raise UsageError(f"shares of {val_share:g} and {test_share:g} for val and test; above 0, together below 1")


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each path for people and for its groups; equal folder names are numbered apart."""
    bare = [path.resolve().name for path in paths]
    return [name if bare.count(name) == 1 else f"{name}#{index + 1}" for index, name in enumerate(bare)]


def _open_archive(path: Path, *, grouped: bool) -> _Opened:
    archive = read_archive(path)
    note = f"{path} has no file names: --groups and --group-regex do not apply to it"
    return _Opened(path.stem, archive.labels, archive.parts, notes=(note,) if grouped else ())


def _open_folder(root: Path, name: str, table: Path | None, regex: str | None) -> _Opened:
    listing = list_folder(root)
    labels = tuple(sorted({entry.label for entry in listing.entries if entry.part in {"train", PLAIN}}))
    for entry in listing.entries:
        if entry.label not in labels:
            raise DataError(
                f"class '{entry.label}' is in {listing.folders[entry.part]} and not in {listing.folders['train']}; "
                "a class that was never learnt cannot be tested"
            )
    if table is not None:
        grouping = group_by_table(root, listing, table)
    elif regex is not None:
        grouping = group_by_name(listing, regex)
    else:
        grouping = group_by_own_tables(root, listing)
    notes = list(grouping.notes)
    if listing.ignored:
        first = listing.ignored[0]
        notes.append(f"{root}: {len(listing.ignored)} hidden or other files are no pictures, ignored (first: {first})")
    if listing.beside:
        notes.append(f"{root}: not read, being no train/, val/ or test/: {', '.join(listing.beside)}")
    parts, unreadable = _identify(root, name, listing.entries, labels, grouping)
    return _Opened(name, labels, parts, unreadable, tuple(notes))


def _identify(
    root: Path, name: str, entries: Sequence[Entry], labels: tuple[str, ...], grouping: Grouping
) -> tuple[Parts, tuple[BadPicture, ...]]:
    """Hash every file and read its header; what fails is unreadable."""
    index = {label: place for place, label in enumerate(labels)}
    parts: dict[str, list[Picture]] = {}
    unreadable = []

    def look(entry: Entry) -> Picture | BadPicture:
        shown = f"{name}/{entry.path.relative_to(root).as_posix()}"
        try:
            digest, size = identify(entry.path)
        except DataError as error:
            return BadPicture(shown, str(error))
        group = grouping.of.get(entry.path)
        key = f"sha256:{digest}" if group is None else f"{name}:{group}"
        return Picture(entry.path, None, index[entry.label], key, shown, digest, size)

    with ThreadPoolExecutor(2) as pool:
        for entry, seen in zip(entries, pool.map(look, entries), strict=True):
            if isinstance(seen, Picture):
                parts.setdefault(entry.part, []).append(seen)
            else:
                unreadable.append(seen)
    return {part: tuple(members) for part, members in parts.items()}, tuple(unreadable)


def _same_labels(paths: Sequence[Path], opened: Sequence[_Opened]) -> tuple[str, ...]:
    """Return the classes that all paths share, or say which differ."""
    first = opened[0].labels
    for path, one in zip(paths, opened, strict=True):
        if set(one.labels) != set(first):
            less, more = sorted(set(first) - set(one.labels)), sorted(set(one.labels) - set(first))
            lacks = f" lacks {', '.join(less)}" if less else ""
            adds = f"{' and' if less else ''} adds {', '.join(more)}" if more else ""
            raise DataError(
                f"{path}{lacks}{adds} where {paths[0]} has the classes {', '.join(first)}; "
                "folders that are pooled need the same class names"
            )
    return first


def _split(path: Path, one: _Opened, labels: tuple[str, ...], val_share: float, test_share: float, seed: int) -> Parts:
    parts = {part: _relabel(members, one.labels, labels) for part, members in one.parts.items()}
    first = f"{one.unreadable[0].name}: {one.unreadable[0].reason}" if one.unreadable else ""
    if first and not parts:
        raise DataError(f"{path}: none of {len(one.unreadable)} pictures can be read; the first: {first}")
    try:
        if PLAIN in parts:
            return cut(group_near(parts[PLAIN]), labels, {"test": test_share, "val": val_share}, seed)
        if "val" not in parts:
            parts |= cut(group_near(parts.get("train", ())), labels, {"val": val_share}, seed)
        else:
            cut(parts.get("train", ()), labels, {}, seed)
    except DataError as error:
        bad = f" ({len(one.unreadable)} cannot be read; the first: {first})" if first else ""
        raise DataError(f"{path}: {error}{bad}") from error
    return parts


def _relabel(members: tuple[Picture, ...], own: tuple[str, ...], labels: tuple[str, ...]) -> tuple[Picture, ...]:
    """Give archives, whose classes are in their own order, the indices of the pooled classes."""
    if own == labels:
        return members
    return tuple(dataclasses.replace(picture, label=labels.index(own[picture.label])) for picture in members)


def _fingerprint(labels: tuple[str, ...], pooled: Mapping[str, Sequence[Picture]]) -> str:
    lines = sorted(
        f"{part} {labels[picture.label]} {picture.digest}" for part, members in pooled.items() for picture in members
    )
    return hashlib.sha256("\n".join([*labels, *lines]).encode()).hexdigest()
