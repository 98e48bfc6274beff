"""Which pictures show the same thing: near-duplicates by the correlation of small grey copies.

Every picture is compared with every other. A 64-bit hash that proposes candidates first was measured and left out:
chest radiographs are so alike that it proposed 1.8 million pairs of 4,000 pictures, and checking those took 17 s where
the product of all with all takes half a second and misses nothing.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_train.pictures import Picture, pixels

CORRELATION = 0.985
"""Smallest correlation of two small copies that are called near-duplicates. Re-encoded and resized copies are above
.99; of 4,000 paediatric chest radiographs no two different ones reached .98."""

SIDE = 32
"""Of the small copies, in pixels."""

WORKERS = 2
"""Threads that decode."""

_BLOCK = 1024
"""Rows multiplied at once: with 100,000 pictures the product takes 400 MB."""


def thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the small grey copy, uint8 [32, 32], of a picture, uint8 [h, w, 3] RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def near_pairs(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the pairs of near-duplicates among small copies, uint8 [n, 32, 32].

    Pictures of almost one shade have no pattern to compare and are in no pair.

    Returns:
        int64 [k, 2], first < second, in rising order.
    """
    rows = thumbnails.reshape(-1, SIDE * SIDE)
    patterned = np.flatnonzero(rows.std(axis=1) > 1)
    found = [patterned[pairs] for pairs in _correlated(_normalised(rows[patterned]))]
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def _normalised(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Take each row's mean away and bring it to length 1, so that a product of two rows is their correlation."""
    values = rows.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def _correlated(rows: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.int64]]:
    """Compare every row, float32 [n, p], with every later one, a block at a time."""
    for start in range(0, len(rows), _BLOCK):
        product = rows[start : start + _BLOCK] @ rows[start:].T
        pairs = np.argwhere(product > CORRELATION)
        yield pairs[pairs[:, 0] < pairs[:, 1]] + start


def clusters(pairs: npt.NDArray[np.int64]) -> list[list[int]]:
    """Join pairs, int64 [k, 2], that share a picture; each cluster rises, and so do their first members."""
    parent: dict[int, int] = {}

    def root(item: int) -> int:
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs.tolist():
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for item in sorted(parent):
        members.setdefault(root(item), []).append(item)
    return [members[key] for key in sorted(members)]


def group_near(pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    """Put near-duplicates among pictures without a group of their own into one group: a cut keeps them together.

    Slices of one scan and frames of one film are near-duplicates; cut apart, validation would measure recognition.
    Pictures with a group (patient, wall) keep it: whoever wrote it down knows better. What cannot be decoded keeps its
    group too, and is told of by those who load it.
    """
    free = [picture for picture in pictures if picture.ungrouped]

    def small(picture: Picture) -> npt.NDArray[np.uint8]:
        try:
            return thumbnail(pixels(picture))
        except DataError:
            return np.zeros((SIDE, SIDE), np.uint8)  # of one shade: in no pair

    with ThreadPoolExecutor(WORKERS) as pool:
        thumbnails = list(pool.map(small, free))
    found = clusters(near_pairs(np.stack(thumbnails))) if thumbnails else []
    leader = {free[member].group: free[cluster[0]].group for cluster in found for member in cluster}
    return tuple(dataclasses.replace(one, group=leader.get(one.group, one.group)) for one in pictures)
