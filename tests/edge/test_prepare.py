"""One resize for everyone: its size, its proportions, its exactness where exactness can be had."""

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Input
from kdlight_edge.prepare import PAD, prepare_input

Image = npt.NDArray[np.uint8]
RESIZES = ["squash", "fit", "crop"]
INTERPOLATIONS = ["reduce", "linear", "area"]


def striped(height: int, width: int) -> Image:
    """Left third red, middle green, right blue."""
    image = np.zeros((height, width, 3), np.uint8)
    for channel, start in enumerate((0, width // 3, 2 * width // 3)):
        image[:, start : start + width - 2 * (width // 3), :] = 0
        image[:, start : start + width - 2 * (width // 3), channel] = 255
    return image


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (31, 33), (32, 48), (33, 47), (64, 96), (480, 640)])
def test_a_picture_of_any_size_comes_out_at_the_size_of_the_input(
    size: tuple[int, int], resize: str, interpolation: str
) -> None:
    image = np.full((*size, 3), (10, 120, 250), np.uint8)
    result = prepare_input(image, Input(48, 32, "rgb", resize, interpolation))  # type: ignore[arg-type]
    assert result.shape == (32, 48, 3)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    inside = result[(result != PAD).all(axis=2)]
    assert len(inside) > 0
    assert (inside == (10, 120, 250)).all()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_picture_of_the_right_size_is_not_touched(resize: str, interpolation: str) -> None:
    image = golden_picture(3)
    spec = Input(image.shape[1], image.shape[0], "rgb", resize, interpolation)  # type: ignore[arg-type]
    np.testing.assert_array_equal(prepare_input(image, spec), image)


def test_a_reduction_by_a_whole_number_is_the_mean_of_each_box() -> None:
    image = golden_picture(4)[:, :192]
    means = image.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
    result = prepare_input(image, Input(64, 64)).astype(np.float64)
    assert np.abs(result - means).max() <= 0.5


def test_a_fine_pattern_does_not_alias() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::2] = 255
    assert np.abs(prepare_input(image, Input(32, 32)).astype(int) - 128).max() <= 1


def test_squash_keeps_the_whole_width_and_changes_the_proportions() -> None:
    result = prepare_input(striped(60, 240), Input(60, 60))
    assert [int(result[30, x].argmax()) for x in (5, 30, 55)] == [0, 1, 2]


def test_crop_keeps_the_proportions_and_the_middle() -> None:
    result = prepare_input(striped(60, 240), Input(60, 60, "rgb", "crop"))
    assert set(result.argmax(axis=2).ravel().tolist()) == {1}
    tall = prepare_input(striped(240, 60), Input(30, 30, "rgb", "crop"))
    assert [int(tall[15, x].argmax()) for x in (3, 15, 27)] == [0, 1, 2]


def test_fit_keeps_the_proportions_and_fills_the_rest_with_grey() -> None:
    result = prepare_input(striped(60, 240), Input(60, 60, "rgb", "fit"))
    assert [int(result[30, x].argmax()) for x in (5, 30, 55)] == [0, 1, 2]
    assert (result[:22] == PAD).all()
    assert (result[-22:] == PAD).all()
    assert not (result[23:37] == PAD).all(axis=2).any()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(60, 240), (240, 60)])
def test_rows_are_dealt_with_as_columns_are(size: tuple[int, int], resize: str) -> None:
    image, spec = striped(*size), Input(60, 60, "rgb", resize)  # type: ignore[arg-type]
    turned = prepare_input(np.ascontiguousarray(image.transpose(1, 0, 2)), spec)
    np.testing.assert_array_equal(turned.transpose(1, 0, 2), prepare_input(image, spec))


@pytest.mark.parametrize(("interpolation", "grey"), [("reduce", 64), ("area", 64), ("linear", 0)])
def test_each_interpolation_sees_what_its_name_says(interpolation: str, grey: int) -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    for start in (0, 1):  # a quarter is white; linear looks between the fourth and the fifth of eight
        image[:, start::8] = 255
    result = prepare_input(image, Input(32, 32, "rgb", "squash", interpolation))  # type: ignore[arg-type]
    assert np.abs(result.astype(int) - grey).max() <= 1


def test_grey_takes_the_colour_out_and_keeps_three_channels() -> None:
    result = prepare_input(striped(30, 90), Input(90, 30, "grey"))
    assert (result[..., 0] == result[..., 1]).all()
    assert (result[..., 1] == result[..., 2]).all()
    # BT.601: 0.299 R + 0.587 G + 0.114 B
    assert result[15, [10, 45, 80], 0].tolist() == [76, 150, 29]


def test_the_source_picture_is_left_as_it_was() -> None:
    image = golden_picture(5)
    before = image.copy()
    for resize in RESIZES:
        prepare_input(image, Input(40, 40, "grey", resize))  # type: ignore[arg-type]
    np.testing.assert_array_equal(image, before)


def test_a_picture_that_is_a_view_is_taken() -> None:
    image = golden_picture(6)
    view = image[::-1, ::2]
    np.testing.assert_array_equal(
        prepare_input(view, Input(32, 32)), prepare_input(np.ascontiguousarray(view), Input(32, 32))
    )
