"""Where the tiles of a picture lie, and which of its pixels each of them answers for."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError

MAX_TILES = 2_000_000
"""Tiles of one picture at most: more are a wrong size, and would fill the memory with their answers."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Overlapping tiles of one size in rows and columns; together they cover the picture and none leaves it."""

    width: int
    """Of the picture, pixels."""
    height: int
    across: int
    """Width of a tile, pixels."""
    down: int
    """Height of a tile, pixels."""
    lefts: tuple[int, ...]
    """First pixel column of each column of tiles."""
    tops: tuple[int, ...]
    """First pixel row of each row of tiles."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return len(self.tops), len(self.lefts)

    @property
    def step(self) -> float:
        """Pixels from a tile to the next, the mean of both directions; of a single tile its shorter side."""
        gaps = [(starts[-1] - starts[0]) / (len(starts) - 1) for starts in (self.lefts, self.tops) if len(starts) > 1]
        return sum(gaps) / len(gaps) if gaps else float(min(self.across, self.down))

    def columns_owned(self) -> npt.NDArray[np.int64]:
        """Return int64 [columns + 1]: a tile answers for the pixel columns from its edge to the next."""
        return _edges(self.lefts, self.across, self.width)

    def rows_owned(self) -> npt.NDArray[np.int64]:
        """Return int64 [rows + 1], as `columns_owned`."""
        return _edges(self.tops, self.down, self.height)

    def areas(self) -> npt.NDArray[np.int64]:
        """Return how many pixels each tile answers for, int64 [rows, columns]; their sum is the whole picture."""
        return np.outer(np.diff(self.rows_owned()), np.diff(self.columns_owned()))


def grid_of(width: int, height: int, size: int, overlap: float) -> Grid:
    """Lay tiles over a picture, spread evenly.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        size: side of a tile, pixels; a picture that is smaller is covered by one tile of its own size.
        overlap: least share of a tile that the next one covers too, 0 to 0.9.

    Raises:
        DataError: the picture has no pixels, or the tiles would be more than `MAX_TILES`.
    """
    if width < 1 or height < 1:
        raise DataError(f"the picture has {width}x{height} pixels")
    across, down = min(size, width), min(size, height)
    columns, rows = _count(width, across, overlap), _count(height, down, overlap)
    if columns * rows > MAX_TILES:
        raise DataError(f"{columns * rows:,} tiles of {size} pixels are more than {MAX_TILES:,}; give larger --tiles")
    return Grid(width, height, across, down, _starts(width, across, columns), _starts(height, down, rows))


def _count(length: int, size: int, overlap: float) -> int:
    step = max(1, int(size * (1 - overlap)))
    return -(-(length - size) // step) + 1


def _starts(length: int, size: int, count: int) -> tuple[int, ...]:
    """Spread tiles so that the first begins and the last ends with the picture."""
    return tuple(i * (length - size) // (count - 1) for i in range(count)) if count > 1 else (0,)


@functools.lru_cache(maxsize=4)
def _edges(starts: tuple[int, ...], size: int, length: int) -> npt.NDArray[np.int64]:
    """Cut each overlap in its middle; every run of a map asks for the same."""
    middles = [(after + before + size) // 2 for before, after in itertools.pairwise(starts)]
    edges = np.array([0, *middles, length], np.int64)
    edges.flags.writeable = False
    return edges
