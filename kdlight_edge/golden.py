"""Golden pictures: procedural, the same bytes on every machine, so that a seed stands for one."""

from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN_SIDE = 192
"""Height of a golden picture in pixels, its width is a third more: not square and not the input's size, so that a
wrong resize is seen too."""


def golden_picture(seed: int) -> npt.NDArray[np.uint8]:
    """Return a procedural picture, uint8 [192, 256, 3] RGB: coloured clouds at three scales with dark strokes.

    Only raw bits of a PCG64 stream and whole-number arithmetic are used, so that every machine and every version of
    NumPy makes the same bytes.
    """
    bits = np.random.PCG64(seed)
    height, width = GOLDEN_SIDE, GOLDEN_SIDE * 4 // 3
    canvas: npt.NDArray[Any] = np.zeros((height, width * 3), np.int32)
    for power, weight in ((2, 1), (4, 2), (6, 4)):
        rows, columns = (height >> power) + 2, (width >> power) + 2
        grid = (bits.random_raw(rows * columns * 3) >> np.uint64(56)).astype(np.int32)
        canvas += weight * _smooth(grid.reshape(rows, columns, 3), power)[:height, : width * 3]
    picture: npt.NDArray[np.uint8] = (canvas // 7).astype(np.uint8).reshape(height, width, 3)
    strokes = (bits.random_raw(16) >> np.uint64(48)).astype(np.int64).reshape(4, 4)
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    for a, b, c, shade in strokes.tolist():
        distance = np.abs((a % 129 - 64) * (x - b % width) + (c % 129 - 64) * (y - c % height))
        picture[distance < 96 + shade % 128] //= np.uint8(2 + shade % 3)
    return picture


def _smooth(grid: npt.NDArray[Any], power: int) -> npt.NDArray[Any]:
    """Interpolate int32 [rows, columns, 3] linearly to 2 ** power times the size, [h, w * 3], in whole numbers.

    Along the few rows of the grid first and then downwards: every start of the runtime draws these pictures.
    """
    cells = 1 << power
    part = np.arange(cells, dtype=np.int32)
    left, right = (side.repeat(cells, axis=1).reshape(len(grid), -1) for side in (grid[:, :-1], grid[:, 1:]))
    share = np.tile(part.repeat(3), grid.shape[1] - 1)
    wide = left * (cells - share) + right * share
    tall: npt.NDArray[Any] = wide[:-1, None] * (cells - part)[:, None] + wide[1:, None] * part[:, None]
    result: npt.NDArray[Any] = tall.reshape(-1, wide.shape[1]) >> (2 * power)
    return result
