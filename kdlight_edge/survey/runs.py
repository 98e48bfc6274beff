"""How much of a surface a class covers and how far it runs on: arithmetic on the grid of tiles."""

import heapq
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.survey.grid import Grid

Mask = npt.NDArray[np.bool_]
"""bool [rows, columns] of tiles."""

Node = tuple[int, int]
"""Row and column of a tile."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tiles of a class that touch one another, at a side or a corner."""

    cells: Mask
    """Which tiles, bool [rows, columns] of the smallest box around them: a mask of the whole grid for each of ten
    thousand specks would be gigabytes."""
    corner: Node
    """Row and column of the box's first tile in the grid."""
    tiles: int
    """How many."""
    length: int
    """Tiles on the way from end to end."""
    pixels: float
    """That way in pixels, from centre to centre, with half a step at either end."""


def coverage(found: Mask, judged: Mask, grid: Grid) -> float | None:
    """Return percent of the judged area that was found, by the pixels each tile answers for; None where none was."""
    areas = grid.areas()
    whole = int(areas[judged].sum())
    return 100.0 * int(areas[found & judged].sum()) / whole if whole else None


def runs(found: Mask, grid: Grid) -> list[Run]:
    """Return every connected run of tiles, the longest first."""
    if not found.any():
        return []
    labelled: tuple[int, Any, Any, Any] = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    _, numbers, boxes, _ = labelled
    measured = []
    for number, (left, top, across, down, _) in enumerate(boxes.tolist()):
        if number:  # the first is what lies between the runs
            box = numbers[top : top + down, left : left + across]
            measured.append(_measure(box == number, (top, left), grid))
    return sorted(measured, key=lambda run: (-run.pixels, -run.tiles))


def _measure(cells: Mask, corner: Node, grid: Grid) -> Run:
    """Walk to the farthest tile and from there to the one farthest from it.

    Without a loop in the run this is its longest way; with loops it is never more than that, and never less than half.
    """
    nodes = {(row + corner[0], column + corner[1]) for row, column in np.argwhere(cells).tolist()}
    end, _, _ = _farthest(min(nodes), nodes, grid)
    _, pixels, length = _farthest(end, nodes, grid)
    return Run(cells, corner, len(nodes), length, pixels + grid.step)


def _farthest(start: Node, nodes: set[Node], grid: Grid) -> tuple[Node, float, int]:
    """Return the tile farthest from ``start`` along the run, its distance in pixels and the tiles on the way."""
    best: dict[Node, tuple[float, int]] = {start: (0.0, 1)}
    waiting: list[tuple[float, int, Node]] = [(0.0, 1, start)]
    last = (start, 0.0, 1)
    while waiting:
        distance, count, node = heapq.heappop(waiting)
        if best[node] < (distance, count):
            continue
        if (distance, count) > last[1:]:
            last = (node, distance, count)
        for other in _neighbours(node, nodes):
            way = float(np.hypot(grid.lefts[other[1]] - grid.lefts[node[1]], grid.tops[other[0]] - grid.tops[node[0]]))
            reached = (distance + way, count + 1)
            if other not in best or reached < best[other]:
                best[other] = reached
                heapq.heappush(waiting, (*reached, other))
    return last


def _neighbours(node: Node, nodes: set[Node]) -> list[Node]:
    row, column = node
    around = [(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]
    return [other for other in around if other in nodes]
