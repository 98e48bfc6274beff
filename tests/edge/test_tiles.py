"""Tiles cover a picture exactly, and what is measured on them is right on masks whose answer is known."""

import itertools
import random

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.survey.geojson import outline, rings_of
from kdlight_edge.survey.georef import Georeference, from_tags, utm_to_lonlat
from kdlight_edge.survey.grid import MAX_TILES, Grid, grid_of
from kdlight_edge.survey.runs import coverage, runs

CASES = [
    (random.Random(seed).randint(1, 900), random.Random(seed + 500).randint(1, 900), size, overlap)
    for seed, (size, overlap) in enumerate(itertools.product((16, 63, 128, 400, 1000), (0.0, 0.25, 0.33, 0.5, 0.9)))
]


def mask(text: str) -> npt.NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in line] for line in text.split()])


def square(rows: int, columns: int) -> Grid:
    """Tiles of 100 pixels without overlap, so that every length can be told by heart."""
    return grid_of(columns * 100, rows * 100, 100, 0.0)


@pytest.mark.parametrize("case", CASES)
def test_every_pixel_is_covered_and_no_tile_leaves_the_picture(case: tuple[int, int, int, float]) -> None:
    width, height, size, overlap = case
    grid = grid_of(width, height, size, overlap)
    for starts, side, length in ((grid.lefts, grid.across, width), (grid.tops, grid.down, height)):
        assert starts[0] == 0
        assert starts[-1] + side == length
        assert side == min(size, length)
        gaps = [after - before for before, after in itertools.pairwise(starts)]
        assert all(1 <= gap <= max(1, int(side * (1 - overlap))) for gap in gaps)
    assert grid == grid_of(width, height, size, overlap)


@pytest.mark.parametrize("case", CASES)
def test_each_pixel_has_one_tile_that_answers_for_it_and_lies_in_that_tile(case: tuple[int, int, int, float]) -> None:
    grid = grid_of(*case)
    assert grid.areas().sum() == case[0] * case[1]
    for starts, side, edges in (
        (grid.lefts, grid.across, grid.columns_owned()),
        (grid.tops, grid.down, grid.rows_owned()),
    ):
        for start, first, last in zip(starts, edges, edges[1:], strict=False):
            assert start <= first < last <= start + side


def test_a_tile_larger_than_the_picture_is_the_picture() -> None:
    grid = grid_of(300, 200, 1000, 0.25)
    assert (grid.shape, grid.across, grid.down, grid.lefts, grid.tops) == ((1, 1), 300, 200, (0,), (0,))


def test_a_picture_without_pixels_or_with_millions_of_tiles_is_refused() -> None:
    with pytest.raises(DataError, match="0x10"):
        grid_of(0, 10, 64, 0.25)
    with pytest.raises(DataError, match=f"{MAX_TILES:,}"):
        grid_of(1_000_000, 1_000_000, 16, 0.9)


@pytest.mark.parametrize(
    ("text", "length", "pixels"),
    [
        ("#", 1, 100),
        ("####", 4, 400),
        ("#.. .#. ..#", 3, 100 + 2 * 100 * 2**0.5),
        ("#.. #.. ###", 4, 100 + 2 * 100 + 100 * 2**0.5),
        (".#. ### .#.", 3, 300),
        ("#.# #.# ###", 5, 100 + 2 * 100 + 2 * 100 * 2**0.5),
    ],
)
def test_the_longest_run_is_right_on_shapes_that_are_known(text: str, length: int, pixels: float) -> None:
    shape = mask(text)
    (run,) = runs(shape, square(*shape.shape))
    assert (run.tiles, run.length) == (int(shape.sum()), length)
    assert run.pixels == pytest.approx(pixels)


def test_runs_that_do_not_touch_are_two_and_the_longer_is_first() -> None:
    shape = mask("##..# ....# ....#")
    assert [(run.tiles, run.length, run.pixels) for run in runs(shape, square(3, 5))] == [(3, 3, 300.0), (2, 2, 200.0)]
    assert runs(np.zeros((3, 5), np.bool_), square(3, 5)) == []


def test_ten_thousand_specks_take_no_more_room_than_a_few() -> None:
    specks = np.zeros((300, 300), np.bool_)
    specks[::3, ::3] = True
    specks[4, 3:5] = specks[3, 4] = True
    found = runs(specks, square(300, 300))
    assert len(found) == 10_000
    assert sum(run.cells.size for run in found) <= specks.size
    assert (found[0].corner, found[0].tiles, found[0].cells.tolist()) == ((3, 3), 4, [[True, True], [True, True]])
    here = Georeference(10.0, 50.0, 0.00001, 0.00001, 4326)
    (ring,) = outline(found[0].cells, square(300, 300), here, found[0].corner)["coordinates"]
    assert ring == [[10.003, 49.997], [10.003, 49.995], [10.005, 49.995], [10.005, 49.997], [10.003, 49.997]]


def test_the_length_of_any_run_lies_between_half_and_the_whole_of_its_longest_way() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        shape = rng.random((5, 6)) < rng.uniform(0.2, 0.9)
        grid = square(5, 6)
        for run in runs(shape, grid):
            exact = longest_way(run.cells) * 100
            assert exact / 2 - 1e-6 <= run.pixels - grid.step <= exact + 1e-6


def longest_way(cells: npt.NDArray[np.bool_]) -> float:
    """Return the longest shortest way between any two tiles in steps, by Floyd and Warshall."""
    nodes = np.argwhere(cells)
    apart = np.hypot(*(nodes[:, None] - nodes[None]).transpose(2, 0, 1))
    apart[apart > 1.5] = np.inf
    for k in range(len(nodes)):
        apart = np.minimum(apart, apart[:, k, None] + apart[None, k])
    return float(apart.max())


def test_coverage_counts_pixels_once_and_only_those_that_were_judged() -> None:
    grid = square(2, 2)
    found, everything = mask("#. .."), np.ones((2, 2), np.bool_)
    assert coverage(found, everything, grid) == 25.0
    assert coverage(found, mask("#. .#"), grid) == 50.0
    assert coverage(found, mask(".# .."), grid) == 0.0
    assert coverage(found, np.zeros((2, 2), np.bool_), grid) is None
    overlapping = grid_of(1000, 700, 128, 0.25)
    assert coverage(np.ones(overlapping.shape, np.bool_), np.ones(overlapping.shape, np.bool_), overlapping) == 100.0


def area(ring: list[tuple[int, int]]) -> float:
    return sum(b[1] * a[0] - a[1] * b[0] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2


def test_outlines_never_touch_themselves_and_enclose_just_the_tiles() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        shape = rng.random((6, 7)) < rng.random()
        rings = rings_of(shape)
        assert all(len(set(ring)) == len(ring) for ring in rings)
        assert sum(area(ring) for ring in rings) == shape.sum()


def test_a_run_with_a_hole_is_a_polygon_with_a_hole_turning_the_other_way() -> None:
    here = Georeference(10.0, 50.0, 0.001, 0.001, 4326)
    ring = outline(mask("### #.# ###"), square(3, 3), here)
    assert ring["type"] == "Polygon"
    outer, hole = ring["coordinates"]
    assert outer == [[10.0, 50.0], [10.0, 49.7], [10.3, 49.7], [10.3, 50.0], [10.0, 50.0]]
    assert turned(outer) > 0 > turned(hole)
    assert outline(mask("#. .#"), square(2, 2), here)["type"] == "MultiPolygon"


def turned(ring: list[list[float]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))


def test_places_in_utm_zones_come_out_where_they_are() -> None:
    # As PROJ 9 has them.
    assert utm_to_lonlat(448_251.8, 5_411_943.8, 31) == pytest.approx(
        (2.2944986592935743, 48.85830004749532), abs=1e-10
    )
    assert utm_to_lonlat(700_000.0, 9_000_000.0, 33) == pytest.approx((26.379106880787, 80.884593944222), abs=1e-10)
    here = Georeference(334_873.0, 6_252_266.0, 0.01, 0.01, 32756)
    assert here.lonlat(0, 0) == pytest.approx((151.21499783431727, -33.85700079663876), abs=1e-10)
    assert here.mm_per_pixel == pytest.approx(10.0)


def test_a_georeference_that_is_turned_or_in_another_system_is_told_and_not_guessed() -> None:
    scale, tie = (0.1, 0.1, 0.0), (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0)
    placed, _ = from_tags(scale, tie, None, {3072: 32632})
    assert placed == Georeference(500_000.0, 5_000_000.0, 0.1, 0.1, 32632)
    centred, _ = from_tags(scale, tie, None, {3072: 32632, 1025: 2})
    assert centred is not None
    assert (centred.x, centred.y) == pytest.approx((499_999.95, 5_000_000.05))
    assert "EPSG 3857" in from_tags(scale, tie, None, {3072: 3857})[1]
    assert "--epsg" in from_tags(scale, tie, None, {})[1]
    turned_about = [0.1, 0.02, 0, 5e5, 0.02, -0.1, 0, 5e6, *[0.0] * 8]
    assert "north up" in from_tags(None, None, turned_about, {3072: 32632})[1]
    assert from_tags(None, None, None, {}) == (None, "")


def test_a_system_that_the_user_names_is_taken_where_the_file_names_none_that_is_known() -> None:
    scale, tie = (0.1, 0.1, 0.0), (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0)
    for keys, epsg in (({3072: 32632}, 32632), ({3072: 25832}, 32633), ({3072: 32767}, 32633), ({}, 32633)):
        placed, _ = from_tags(scale, tie, None, keys, 32633)
        assert placed is not None
        assert placed.epsg == epsg


def test_the_degrees_below_a_projection_without_a_name_are_not_what_its_numbers_are() -> None:
    scale, tie = (0.1, 0.1, 0.0), (0.0, 0.0, 0.0, 10.0, 20.0, 0.0)
    assert "is not named" in from_tags(scale, tie, None, {1024: 1, 2048: 4326})[1]
    for keys in ({1024: 2, 2048: 4326}, {2048: 4326}):
        placed, _ = from_tags(scale, tie, None, keys)
        assert placed is not None
        assert placed.epsg == 4326


@pytest.mark.parametrize(
    ("here", "holds"),
    [
        (Georeference(13.4, 52.5, 1e-6, 1e-6, 4326), True),
        (Georeference(-180.0, 90.0, 0.36, 0.18, 4326), True),
        (Georeference(500_000.0, 5_000_000.0, 0.1, 0.1, 4326), False),
        (Georeference(500_000.0, 5_000_000.0, 0.1, 0.1, 32632), True),
        (Georeference(300_000.0, 50.0, 0.1, 0.1, 32737), False),
        (Georeference(300_000.0, 9_999_000.0, 0.1, 0.1, 32737), True),
        (Georeference(2_600_000.0, 1_200_000.0, 0.1, 0.1, 32632), False),
        (Georeference(5e12, 5e12, 0.1, 0.1, 32632), False),
    ],
)
def test_a_georeference_with_numbers_of_another_system_is_known(here: Georeference, *, holds: bool) -> None:
    assert here.holds(1000, 1000) is holds
