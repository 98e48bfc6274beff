"""What a careful person would find out about labelled pictures before training on them."""

import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlight_edge.errors import DataError
from kdlight_train.data import Data
from kdlight_train.duplicates import SIDE, WORKERS, clusters, near_pairs, thumbnail
from kdlight_train.pictures import BadPicture, Picture, Pixels, pixels

VERSION = 1
"""Of the findings as JSON."""

TINY = 32
"""Pictures whose shorter side is below are named: at the network's input they are mostly invention."""

IMBALANCE = 10.0
"""Largest class over smallest from which on the balance is worth a word."""

SHOWN = 5
"""How many examples of a finding are shown to people; the JSON holds them all."""


@dataclass(frozen=True, slots=True)
class Member:
    """One picture of a cluster of duplicates."""

    name: str
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pictures that are the same, byte for byte or nearly."""

    members: tuple[Member, ...]

    @property
    def across(self) -> bool:
        """Whether they are in more than one split: what is learnt from one is recognised in the other."""
        return len({member.split for member in self.members}) > 1

    @property
    def conflict(self) -> bool:
        """Whether they are of more than one class."""
        return len({member.label for member in self.members}) > 1


@dataclass(frozen=True, slots=True)
class SharedGroup:
    """A group (patient, lesion, wall) with pictures in more than one split, as the data came."""

    group: str
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings."""

    counts: dict[str, dict[str, int]]
    """Split to class to number of pictures."""
    imbalance: float
    """Largest class over smallest, in the training pictures."""
    smallest: tuple[int, int]
    """Width and height of the picture with the fewest pixels."""
    largest: tuple[int, int]
    """Width and height of the picture with the most pixels."""
    tiny: tuple[str, ...]
    """Names of pictures whose shorter side is below `TINY` pixels."""
    unreadable: tuple[BadPicture, ...]
    exact: tuple[Cluster, ...]
    """Byte-identical pictures."""
    near: tuple[Cluster, ...]
    """Near-duplicates that are not byte-identical."""
    shared_groups: tuple[SharedGroup, ...]
    notes: tuple[str, ...]
    """What was told when the data were opened."""
    fingerprint: str
    """Of the data; see `Data.fingerprint`."""

    def serious(self) -> tuple[str, ...]:
        """Return what must be mended before the figures of a training mean anything, each with what to do."""
        return tuple(_serious(self))

    def lines(self) -> tuple[str, ...]:
        """Return the whole audit for people."""
        return (*_table(self), "", *_remarks(self), *(f"PROBLEM  {line}" for line in self.serious()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {"version": VERSION, **record, "serious": list(self.serious())}


def audit(data: Data) -> Audit:
    """Look at every picture once."""
    pictures = [(picture, name) for name, split in data.splits.items() for picture in split.pictures]
    thumbnails = np.zeros((len(pictures), SIDE, SIDE), np.uint8)

    def look(index: int) -> BadPicture | None:
        picture = pictures[index][0]
        try:
            thumbnails[index] = thumbnail(pixels(picture))
        except DataError as error:
            return BadPicture(picture.name, str(error))
        return None

    with ThreadPoolExecutor(WORKERS) as pool:
        damaged = [bad for bad in pool.map(look, range(len(pictures))) if bad is not None]
    members = [Member(picture.name, split, data.labels[picture.label]) for picture, split in pictures]
    digests = [picture.digest for picture, _ in pictures]
    sizes = sorted((picture.size for picture, _ in pictures), key=lambda size: (size[0] * size[1], size))
    balance = list(data.counts()["train"].values())
    return Audit(
        counts=data.counts(),
        imbalance=max(balance) / min(balance),
        smallest=sizes[0],
        largest=sizes[-1],
        tiny=tuple(picture.name for picture, _ in pictures if min(picture.size) < TINY),
        unreadable=(*data.unreadable, *damaged),
        exact=_gather(members, _same(digests)),
        near=_gather(members, _near(thumbnails, digests)),
        shared_groups=_shared(pictures),
        notes=data.notes,
        fingerprint=data.fingerprint,
    )


def _gather(members: Sequence[Member], found: Sequence[Sequence[int]]) -> tuple[Cluster, ...]:
    return tuple(Cluster(tuple(members[index] for index in cluster)) for cluster in found)


def _same(digests: Sequence[str]) -> list[list[int]]:
    places: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        places.setdefault(digest, []).append(index)
    return [cluster for cluster in places.values() if len(cluster) > 1]


def _near(thumbnails: Pixels, digests: Sequence[str]) -> list[list[int]]:
    """Join near-duplicates by the pairs that are not byte-identical."""
    pairs = near_pairs(thumbnails)
    different = [digests[first] != digests[second] for first, second in pairs.tolist()]
    return clusters(pairs[np.array(different, bool)])


def _shared(pictures: Sequence[tuple[Picture, str]]) -> tuple[SharedGroup, ...]:
    """Find named groups in several splits; those that stand for one file's bytes are in ``exact`` already."""
    splits: dict[str, list[str]] = {}
    for picture, split in pictures:
        held = splits.setdefault(picture.group, [])
        if split not in held:
            held.append(split)
    return tuple(
        SharedGroup(group, tuple(held))
        for group, held in sorted(splits.items())
        if len(held) > 1 and not group.startswith("sha256:")
    )


def _table(found: Audit) -> list[str]:
    """Lay the counts out, a class a row and a split a column."""
    splits, labels = list(found.counts), list(next(iter(found.counts.values())))
    width = max(map(len, [*labels, "all"]))
    rows = [f"{'':{width}}" + "".join(f"{split:>9}" for split in splits)]
    rows += [f"{label:{width}}" + "".join(f"{found.counts[split][label]:>9,}" for split in splits) for label in labels]
    rows.append(f"{'all':{width}}" + "".join(f"{sum(found.counts[split].values()):>9,}" for split in splits))
    return rows


def _remarks(found: Audit) -> list[str]:
    small, large = ("x".join(map(str, size)) for size in (found.smallest, found.largest))
    train = found.counts["train"]
    most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
    weight = " - rare classes are learnt badly; collect more of them" if found.imbalance >= IMBALANCE else ""
    balance = f"{most} : {least} = {found.imbalance:.1f} : 1" if train[most] > train[least] else "all classes equal"
    across = sum(cluster.across for cluster in found.near)
    conflicts = sum(cluster.conflict for cluster in found.near)
    alike = f"{_number(len(found.near), 'cluster')} of near-duplicates"
    lines = [
        f"pixels     {small}" + (f" to {large}" if small != large else ""),
        f"balance    {balance} in train{weight}",
        f"identical  {_number(len(found.exact), 'cluster')} of byte-identical pictures",
        f"alike      {alike}, {across} across splits, {conflicts} of several classes",
    ]
    if across:
        lines.append(f"           across splits: {_cluster(next(one for one in found.near if one.across))}")
    if found.tiny:
        lines.append(f"tiny       {_number(len(found.tiny), 'picture')} under {TINY} pixels{_examples(found.tiny)}")
    if found.shared_groups:
        groups = [f"{shared.group} ({' + '.join(shared.splits)})" for shared in found.shared_groups]
        lines.append(
            f"groups     {_number(len(groups), 'group')} in several splits as the data came{_examples(groups)}"
        )
    return lines + [f"note       {note}" for note in found.notes]


def _serious(found: Audit) -> list[str]:
    lines = []
    if found.unreadable:
        bad = [f"{one.name}: {one.reason}" for one in found.unreadable]
        lines.append(f"{_number(len(bad), 'unreadable file')}{_examples(bad)}; replace or delete them")
    across = [_cluster(cluster) for cluster in found.exact if cluster.across]
    if across:
        lines.append(
            f"{_number(len(across), 'picture')} in more than one split{_examples(across)}; delete the training copy, "
            "or the test measures memory"
        )
    conflicts = [_cluster(cluster) for cluster in found.exact if cluster.conflict]
    if conflicts:
        lines.append(
            f"{_number(len(conflicts), 'picture')} under more than one class{_examples(conflicts)}; "
            "keep the copy with the right class"
        )
    return lines


def _cluster(cluster: Cluster) -> str:
    return " = ".join(f"{member.name} ({member.split}, {member.label})" for member in cluster.members[:SHOWN])


def _examples(items: Sequence[str]) -> str:
    shown = ", ".join(items[:SHOWN])
    return f": {shown}{', ...' if len(items) > SHOWN else ''}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
