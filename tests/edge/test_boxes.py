"""The quick mean of boxes is OpenCV's area resize, bit for bit, whatever the factors and however the picture lies."""

import itertools
import sys
import tracemalloc

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.boxes import BLURRED, BLURRED_DOWN, MOST, box_means
from kdlight_edge.manifest import Input
from kdlight_edge.prepare import prepare_input

ACROSS, DOWN = 7, 5
"""Boxes of a picture here."""


def noise(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


def by_opencv(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def test_every_box_has_the_mean_that_opencv_gives_it() -> None:
    assert 16 * 16 < MOST < 17 * 17  # so that both ways are taken
    for across, down in itertools.product(range(1, 20), repeat=2):
        image = noise(ACROSS * across, DOWN * down)
        np.testing.assert_array_equal(box_means(image, across, down), by_opencv(image, (ACROSS, DOWN)))


def test_every_sum_that_a_box_can_have_is_rounded_as_opencv_rounds_it() -> None:
    odd = itertools.product((3, 5), (1, 3, 5))
    for across, down in [(2, 1), (3, 2), (3, 4), (5, 2), (5, 6), (2, 7), (16, 16), *odd]:
        count = across * down
        totals = np.arange(255 * count + 1)
        level, more = np.divmod(totals, count)
        pixels = (level[:, np.newaxis] + (np.arange(count) < more[:, np.newaxis])).astype(np.uint8)
        tall = pixels.reshape(-1, across, 1).repeat(3, axis=2)
        for boxes in (1, 20):  # less and more than a processor adds up at a time
            wide = np.tile(tall, (1, boxes, 1))
            np.testing.assert_array_equal(box_means(wide, across, down), by_opencv(wide, (boxes, len(totals))))


def test_a_mean_out_of_a_blur_is_the_nearest_level_whatever_the_processor_and_the_version_of_opencv() -> None:
    for across, down in itertools.product(BLURRED, range(1, BLURRED_DOWN + 1, 2)):
        count, boxes = across * down, 43
        totals = (np.arange(255 * count + 1)[:, np.newaxis] + 1009 * np.arange(boxes)) % (255 * count + 1)
        level, more = np.divmod(totals, count)
        pixels = (level[..., np.newaxis] + (np.arange(count) < more[..., np.newaxis])).astype(np.uint8)
        grey = pixels.reshape(-1, boxes, down, across).swapaxes(1, 2).reshape(-1, boxes * across)
        nearest = (2 * totals + count) // (2 * count)
        np.testing.assert_array_equal(box_means(grey, across, down), nearest)
        coloured = np.dstack([grey, np.roll(grey, 7 * down, axis=0), np.roll(grey, -7 * down, axis=0)])
        expected = np.dstack([nearest, np.roll(nearest, 7, axis=0), np.roll(nearest, -7, axis=0)])
        np.testing.assert_array_equal(box_means(coloured, across, down), expected)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_boxes_that_share_pixels_of_a_smaller_picture_have_their_parts_of_them(scale: int) -> None:
    for across, down in itertools.product(range(scale, 24), repeat=2):
        small = noise(ACROSS * across, DOWN * down)
        whole = small.repeat(scale, axis=0).repeat(scale, axis=1)
        size = (ACROSS * scale, DOWN * scale)
        means = box_means(small, across, down, scale)
        sums = whole.reshape(size[1], down, size[0], across, 3).sum(axis=(1, 3), dtype=np.int64)
        assert np.abs(2 * (sums - means.astype(np.int64) * (across * down))).max() <= across * down  # the nearest level
        other, halfway = by_opencv(small, size), 2 * sums % (2 * across * down) == across * down
        np.testing.assert_array_equal(np.where(halfway, other, means), other, f"{across}x{down}")


def test_a_part_of_a_picture_and_a_turned_one_are_taken() -> None:
    image = noise(70, 60)
    for view in (image[3:48, 2:65], image[::-1, ::-1][:45, :63], image.transpose(1, 0, 2)[:45, :42]):
        straight = np.ascontiguousarray(view)
        for across, down in ((7, 5), (3, 5)):
            size = (view.shape[1] // across, view.shape[0] // down)
            np.testing.assert_array_equal(box_means(view, across, down), by_opencv(straight, size))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_grey_picture_has_the_means_of_one_whose_colours_are_alike(scale: int) -> None:
    for across, down in itertools.product(range(scale, 12), repeat=2):
        grey = noise(ACROSS * across, DOWN * down)[..., 0]
        means = box_means(grey, across, down, scale)
        np.testing.assert_array_equal(np.dstack([means] * 3), box_means(np.dstack([grey] * 3), across, down, scale))


def test_preparing_one_picture_after_the_other_takes_no_new_memory_for_the_sums() -> None:
    image, spec = noise(640, 480), Input(128, 128)
    prepare_input(image, spec)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(20):
            prepare_input(image, spec)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < sys.getsizeof(b"") + 4096
    assert peak - before < image.nbytes // 2
