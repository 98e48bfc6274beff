"""The means of boxes of pixels: OpenCV's area resize, bit for bit, in about half its time.

OpenCV adds the pixels of such boxes one by one (but for 2x2). Here whole rows are added, and then a row to itself moved
by some pixels, which processors do for many numbers at once. Where boxes share pixels, as in a JPEG that was decoded
at a part of its size, the rows are added here, each as often as it counts in a box, and OpenCV goes along them; a mean
halfway between two levels may there become the other one.

Boxes of 3 or 5 pixels across are picked out of what a blur makes of the whole picture, which is less work still: a few
calls that leave the caches to the picture. Of an odd number of pixels no mean is halfway, so there is one rounding.
"""

import functools
import math
import threading
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

MOST = 65535 // 255
"""Pixels of a box whose sum, at most 255 each, is sure to fit into 16 bits; larger boxes are left to OpenCV."""

STRIPE = 128 << 10
"""Sums that are made at a time: a bound on their memory; fewer would be no quicker."""

BLURRED = (3, 5)
"""Widths that OpenCV's blur adds up for many pixels at once; others it takes three times as long for."""

BLURRED_DOWN = 5
"""Height above which picking is slower: a blur makes a mean for every row, however few are picked."""

_OWN = threading.local()
"""Memory of this thread for sums, kept from picture to picture."""


def box_means(image: npt.NDArray[np.uint8], across: int, down: int, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Reduce a picture by whole factors.

    Args:
        image: uint8 [h, w, 3] or [h, w]; its width and height times ``scale`` are multiples of ``across`` and ``down``.
        across: width of a box, in pixels of the whole picture.
        down: height of a box.
        scale: how many times as wide and as high as ``image`` the whole picture is.

    Returns:
        uint8 [h * scale / down, w * scale / across, ...], rounded as by OpenCV.
    """
    size = image.shape[1] * scale // across, image.shape[0] * scale // down
    boxes = _boxes(across, down, scale)
    # Four pixels OpenCV adds as fast, and rounds in a way of its own.
    left = boxes.most > MOST or (across, down) in {(scale, scale), (2 * scale, 2 * scale)}
    if left or boxes.down < 2 * boxes.scale - 1:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    means = np.empty((size[1], size[0], *image.shape[2:]), np.uint8)
    if boxes.blurred:
        _pick(means, image, across // scale, boxes.down)
        return means
    lines = image.reshape(image.shape[0], -1)
    step = max(1, STRIPE // (lines.shape[1] * boxes.scale)) * boxes.scale
    for top in range(0, size[1], step):
        stripe = means[top : top + step]
        begin = top * boxes.down // boxes.scale
        _fill(stripe, lines[begin : begin + len(stripe) * boxes.down // boxes.scale], boxes)
    return means


class _Boxes(NamedTuple):
    """Boxes in pixels of the picture as it is, which may be a part of its size."""

    across: Fraction
    """Width of one; where it is no whole number, neighbours share pixels."""
    down: int
    """Height of ``scale`` of them that lie below each other."""
    scale: int
    """In lowest terms with ``down``: so often a row counts, that shares of it are whole numbers."""
    finer: int
    """What sums of rows are multiplied by where OpenCV makes means along them, which it rounds to whole numbers: so
    much that rounding the mean of the box again gives what rounding it once would."""
    most: int
    """How many pixels a sum is of, those that count more than once as often."""
    blurred: bool
    """Whether they are picked out of a blur."""


@functools.lru_cache(maxsize=64)
def _boxes(across: int, down: int, scale: int) -> _Boxes:
    part, wide = math.gcd(down, scale), Fraction(across, scale)
    finer = wide.numerator if wide.denominator > 1 else 1
    most = wide.numerator * (down // part)
    blurred = wide in BLURRED and part == scale and most % 2 == 1 and down <= BLURRED_DOWN * scale
    return _Boxes(wide, down // part, scale // part, finer, most, blurred)


def _pick(means: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8], across: int, down: int) -> None:
    """Fill the result, uint8 [rows, columns, ...], with the means at the upper left corner of each box."""
    step = max(1, 2 * STRIPE // (down * image[0].size))
    for top in range(0, len(means), step):
        stripe = means[top : top + step]
        part = image[top * down : (top + len(stripe)) * down]
        blurred = cv2.blur(part, (across, down), _memory(part.size).reshape(part.shape), (0, 0))
        cv2.resize(blurred, (means.shape[1], len(stripe)), stripe, interpolation=cv2.INTER_NEAREST)


def _fill(means: npt.NDArray[np.uint8], lines: npt.NDArray[np.uint8], boxes: _Boxes) -> None:
    """Fill some rows of the result, uint8 [rows, columns, ...], from theirs of the picture, uint8 [h, w * channels]."""
    sums, across, size = _sums(len(means) * lines.shape[1]), boxes.across, means.shape[1::-1]
    _add_rows(lines, sums[0].reshape(len(means), -1), boxes)
    shape = len(means), -1, *means.shape[2:]
    if across.denominator > 1:
        added: Any = cv2.resize(sums[0].reshape(shape), size, interpolation=cv2.INTER_AREA)
    else:
        added = _add_neighbours(sums, across.numerator, math.prod(means.shape[2:])).reshape(shape)
        if across > 1:
            added = cv2.resize(added, size, interpolation=cv2.INTER_NEAREST)
    cv2.convertScaleAbs(added, means, alpha=1 / boxes.most)


def _sums(length: int) -> npt.NDArray[np.uint16]:
    """Return three rows, uint16 [3, length], that this thread may write to."""
    return _memory(6 * length).view(np.uint16).reshape(3, length)


def _memory(size: int) -> npt.NDArray[np.uint8]:
    """Return uint8 [size] that this thread may write to until it asks again."""
    kept: npt.NDArray[np.uint8] | None = getattr(_OWN, "memory", None)
    if kept is None or kept.size < size:
        kept = _OWN.memory = np.empty(size, np.uint8)
    return kept[:size]


def _add_rows(lines: npt.NDArray[np.uint8], sums: npt.NDArray[np.uint16], boxes: _Boxes) -> None:
    """Fill ``sums``, uint16 [rows, w * channels]: each is of the rows of one box.

    Of a picture at a part of its size a row that two boxes share counts in each as far as it lies there; which rows
    these are repeats after ``scale`` boxes.
    """
    down, scale = boxes.down, boxes.scale
    for phase in range(scale):
        target, begin = sums[phase::scale], down * phase
        first, last = -(-begin // scale), (begin + down) // scale  # of the rows that lie in the box whole
        rows = [lines[row::down] for row in range(first, last)]
        if len(rows) == 1:
            np.copyto(target, rows[0])
        else:
            np.add(rows[0], rows[1], out=target, dtype=np.uint16)
        for row in rows[2:]:
            np.add(target, row, out=target, dtype=np.uint16)
        if scale > 1:
            np.multiply(target, scale, out=target)
        for shared, times in ((first - 1, first * scale - begin), (last, begin + down - last * scale)):
            for _ in range(times):
                np.add(target, lines[shared::down], out=target, dtype=np.uint16)
        if boxes.finer > 1:
            np.multiply(target, boxes.finer, out=target)


def _add_neighbours(sums: npt.NDArray[np.uint16], count: int, channels: int) -> npt.NDArray[np.uint16]:
    """Return for each pixel the sum of it and the ``count`` - 1 to its right; over the end of a row it means nothing.

    Sums of 1, 2, 4, ... pixels are made, each of the one before and itself moved, and those that ``count`` has in
    binary are added up: of 5 pixels those of 1 and 4.
    """

    def add(one: int, other: int, pixels: int, target: int) -> None:
        far = channels * pixels
        np.add(sums[one, :-far], sums[other, far:], out=sums[target, :-far])

    power, width = 0, 1
    total, have = -1, 0
    while True:
        if count & width:
            if total < 0:
                total = power
            else:
                add(total, power, have, total)
            have += width
        if have == count:
            return np.asarray(sums[total])
        # Never in place: numpy would copy what it reads and writes at once.
        target = next(row for row in range(3) if row not in {power, total})
        add(power, power, width, target)
        power, width = target, 2 * width
