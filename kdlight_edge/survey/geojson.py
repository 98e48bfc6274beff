"""Surfaces on the map: GeoJSON (RFC 7946) with one feature a picture, and one a run where pixels have places."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdlight_edge.survey.georef import Georeference
from kdlight_edge.survey.grid import Grid
from kdlight_edge.survey.record import Surface, to_record
from kdlight_edge.survey.runs import Mask, Node

Ring = list[tuple[int, int]]
"""Corners (row, column) of cells, the first not repeated."""


def features_of(surface: Surface, origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the feature of a picture and those of its runs; a picture without a place has a null geometry."""
    properties = to_record(surface, origin)
    properties.pop("tiles", None)
    here, survey = surface.georeference, surface.survey
    if here is None or survey is None:
        return [_feature(_point(surface), properties)]
    grid = survey.grid
    whole = _polygon([[(0, 0), (1, 0), (1, 1), (0, 1)]], np.array([0, grid.height]), np.array([0, grid.width]), here)
    return [
        _feature(whole, properties),
        *(
            _feature(
                outline(run.cells, grid, here, run.corner),
                {
                    "source": surface.source,
                    "label": finding.label,
                    "tiles": run.tiles,
                    "length_tiles": run.length,
                    "length_pixels": round(run.pixels),
                    "length_mm": None if surface.mm_per_pixel is None else round(run.pixels * surface.mm_per_pixel, 1),
                },
            )
            for finding in surface.findings
            for run in finding.runs
        ),
    ]


def _feature(geometry: dict[str, Any] | None, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _point(surface: Surface) -> dict[str, Any] | None:
    taken = surface.taken
    if taken.longitude is None or taken.latitude is None:
        return None
    height = [] if taken.altitude is None else [taken.altitude]
    return {"type": "Point", "coordinates": [taken.longitude, taken.latitude, *height]}


def outline(cells: Mask, grid: Grid, here: Georeference, corner: Node = (0, 0)) -> dict[str, Any]:
    """Return the area that the tiles of a run answer for, as a Polygon or MultiPolygon of longitudes and latitudes.

    The tiles are bool [rows, columns] of the part of the grid whose first tile is at ``corner``.
    """
    rings = rings_of(cells)
    outer = sorted(([ring] for ring in rings if _turned(ring) > 0), key=lambda group: _turned(group[0]))
    boxes = [(min(group[0]), max(group[0])) for group in outer]
    for ring in rings:
        if _turned(ring) < 0:  # a hole: it belongs to the smallest ring around it
            around = (group for group, (top, bottom) in zip(outer, boxes, strict=True) if top < ring[0] < bottom)
            next(group for group in around if _inside(ring[0], ring[1], group[0])).append(ring)
    rows, columns = grid.rows_owned()[corner[0] :], grid.columns_owned()[corner[1] :]
    parts = [_polygon(group, rows, columns, here) for group in outer]
    if len(parts) == 1:
        return parts[0]
    return {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in parts]}


def _polygon(group: list[Ring], rows: Any, columns: Any, here: Georeference) -> dict[str, Any]:
    def place(corner: tuple[int, int]) -> list[float]:
        longitude, latitude = here.lonlat(float(columns[corner[1]]), float(rows[corner[0]]))
        return [round(longitude, 9), round(latitude, 9)]

    return {"type": "Polygon", "coordinates": [[place(corner) for corner in [*ring, ring[0]]] for ring in group]}


def rings_of(cells: Mask) -> list[Ring]:
    """Return the borders of cells as rings that never cross or touch themselves, the cells on their left.

    With north up an outer ring turns counterclockwise and a hole clockwise (RFC 7946, 3.1.6).
    """
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    padded = np.pad(cells, 1)
    for row, column in np.argwhere(cells).tolist():
        corners = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
        outside = [(row, column - 1), (row + 1, column), (row, column + 1), (row - 1, column)]
        for side, (down, across) in enumerate(outside):
            if not padded[down + 1, across + 1]:
                ways.setdefault(corners[side], []).append(corners[(side + 1) % 4])
    rings = []
    for start in sorted(ways):
        while start in ways:
            rings += _walked(start, ways)
    return rings


def _walked(start: Node, ways: dict[Node, list[Node]]) -> list[Ring]:
    """Follow the ways from a corner until they are used up, and return the rings that were closed."""
    rings, way, at = [], [start], {start: 0}
    while choices := ways.get(way[-1]):
        after = choices.pop()
        if not choices:
            del ways[way[-1]]
        if after in at:  # a loop is closed, perhaps at a corner where cells only touch: it is a ring of its own
            ring = way[at[after] :]
            rings.append(_straightened(ring))
            for corner in ring[1:]:
                del at[corner]
            del way[at[after] + 1 :]
        else:
            at[after] = len(way)
            way.append(after)
    return rings


def _straightened(ring: Ring) -> Ring:
    """Leave out the corners at which nothing turns."""
    return [
        here
        for before, here, after in zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]], strict=True)
        if (here[0] - before[0]) * (after[1] - here[1]) != (here[1] - before[1]) * (after[0] - here[0])
    ]


def _turned(ring: Ring) -> float:
    """Return the area of a ring in cells, positive where it turns counterclockwise with rows downwards."""
    ends = [*ring[1:], ring[0]]
    return sum(b[1] * a[0] - a[1] * b[0] for a, b in zip(ring, ends, strict=True)) / 2


def _inside(first: tuple[int, int], second: tuple[int, int], ring: Ring) -> bool:
    """Whether the middle of an edge lies in a ring."""
    row, column = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
    inside = False
    for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (a[0] > row) != (b[0] > row) and column < a[1] + (row - a[0]) * (b[1] - a[1]) / (b[0] - a[0]):
            inside = not inside
    return inside
