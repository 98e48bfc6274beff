"""Pictures to train, validation and test parts: stratified by class, seeded, never separating a group."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_train.pictures import Picture

Counts = npt.NDArray[np.int64]
"""Pictures of one group by class, int64 [C]."""


def cut(
    pictures: Sequence[Picture], labels: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[Picture, ...]]:
    """Cut parts off, in the order of ``shares``; what is left is the part ``train``.

    Groups are taken in the order of SHA-256(seed, group), each into a part as long as that brings the part's class
    counts nearer to its share. So the cut depends on the groups' names only, and a new picture moves few others.

    Args:
        pictures: with their classes and groups.
        labels: names of the classes, for messages.
        shares: name of the part to its share of every class, above 0; together below 1.
        seed: another seed, another cut.

    Raises:
        DataError: a class does not have enough pictures, or groups, for every part to hold one.
    """
    groups = _count(pictures, len(labels), seed)
    total: Counts = sum(groups.values(), start=np.zeros(len(labels), np.int64))
    _check(total, labels, len(shares) + 1)
    part_of = dict.fromkeys(groups, "train")
    for part, share in shares.items():
        _fill(part, share, groups, total, part_of)
    for part in shares:
        _complete(part, groups, part_of, labels)
    parts: dict[str, list[Picture]] = {"train": [], **{part: [] for part in shares}}
    for picture in pictures:
        parts[part_of[picture.group]].append(picture)
    return {part: tuple(members) for part, members in parts.items()}


def _count(pictures: Sequence[Picture], classes: int, seed: int) -> dict[str, Counts]:
    """Return each group's counts, the groups in their seeded order."""
    groups: dict[str, Counts] = {}
    for picture in pictures:
        groups.setdefault(picture.group, np.zeros(classes, np.int64))[picture.label] += 1
    order = sorted(groups, key=lambda group: _hash(seed, group))
    return {group: groups[group] for group in order}


def _hash(seed: int, group: str) -> bytes:
    """Return where a group stands in the seeded order; its name may come from a file's, which need not be UTF-8."""
    return hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogateescape")).digest()


def _check(total: Counts, labels: Sequence[str], parts: int) -> None:
    for label, number in zip(labels, total.tolist(), strict=True):
        if number < parts:
            raise DataError(
                f"class '{label}' has {number} readable picture{'s' * (number != 1)}, a split in {parts} parts needs "
                f"{parts} or more; add pictures or remove the class"
            )


def _fill(part: str, share: float, groups: Mapping[str, Counts], total: Counts, part_of: dict[str, str]) -> None:
    """Take groups while each brings the part nearer to its share of every class (squared distance, in shares)."""
    target = np.maximum(share * total, 1.0)
    held = np.zeros(len(total))
    for group, members in groups.items():
        if part_of[group] != "train":
            continue
        before = (((held - target) / total) ** 2).sum()
        after = (((held + members - target) / total) ** 2).sum()
        if after < before:
            part_of[group] = part
            held += members


def _complete(part: str, groups: Mapping[str, Counts], part_of: dict[str, str], labels: Sequence[str]) -> None:
    """Give the part its smallest possible group of every class it lacks, so that each class can be measured."""
    for index, label in enumerate(labels):
        if any(part_of[group] == part and members[index] for group, members in groups.items()):
            continue
        spare = [group for group in groups if part_of[group] == "train" and groups[group][index]]
        movable = [group for group in spare if _can_leave(group, groups, part_of)]
        if not movable:
            raise DataError(
                f"class '{label}' has too few groups to be in every part of the split ({len(spare)} left for training "
                f"and {part}; pictures that look alike are one group where none is named); add other pictures, or give "
                f"{part}/ as a folder of its own"
            )
        part_of[min(movable, key=lambda group: groups[group].sum())] = part


def _can_leave(group: str, groups: Mapping[str, Counts], part_of: Mapping[str, str]) -> bool:
    """Tell whether train keeps every class of the group when the group goes."""
    rest = sum((members for name, members in groups.items() if part_of[name] == "train" and name != group), start=0)
    return bool(np.all((np.asarray(rest) > 0) | (groups[group] == 0)))
