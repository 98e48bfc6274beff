"""Whatever the samples of an orthomosaic are, its pixels come out as the colours that they stand for."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.survey.raster import open_raster

tifffile = pytest.importorskip("tifffile", reason="the extra survey is not installed")

Pixels = npt.NDArray[Any]

GREY: Pixels = np.add.outer(np.arange(60), np.arange(80) * 2).astype(np.uint8)
COLOUR: Pixels = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def rows(path: Path) -> Pixels:
    raster = open_raster(path)
    try:
        return raster.rows(0, raster.height)
    finally:
        raster.close()


def bare(path: Path, data: bytes, bits: int, photometric: int, samples: int = 1, extra: bytes = b"") -> Path:
    """Write 80x60 pixels without any of the help that a library gives."""
    tags = [(256, 80), (257, 60), (258, bits), (259, 1), (262, photometric), (273, 8), (277, samples), (278, 60)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, len(data))]]
    entries += [extra] if extra else []
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    path.write_bytes(head + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    return path


def test_a_band_beside_the_colours_is_no_transparency(tmp_path: Path) -> None:
    infrared = np.concatenate([COLOUR, GREY[..., np.newaxis] // 4], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", infrared, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(rows(tmp_path / "a.tif"), COLOUR)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_found_behind_another_band(dtype: Any, tmp_path: Path) -> None:
    clear = np.zeros((60, 80, 1), np.uint8)
    clear[20:] = 255
    bands = np.concatenate([COLOUR, GREY[..., np.newaxis], clear], axis=2).astype(dtype)
    bands *= 257 if dtype is np.uint16 else 1
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="rgb", extrasamples=["unspecified", "unassalpha"])
    got = rows(tmp_path / "a.tif")
    assert got[:20].max() == 0
    np.testing.assert_array_equal(got[20:], COLOUR[20:])


def test_where_white_is_zero_transparency_is_not_turned_with_the_colours(tmp_path: Path) -> None:
    clear = np.zeros((60, 80), np.uint8)
    clear[20:] = 255
    both = np.stack([255 - GREY, clear], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", both, photometric="miniswhite", extrasamples=["unassalpha"])
    got = rows(tmp_path / "a.tif")
    assert got[:20].max() == 0
    np.testing.assert_array_equal(got[20:, :, 0], GREY[20:])


@pytest.mark.parametrize("nothing", ["255", "65535", "-9999", "nan"])
def test_a_value_that_is_named_for_no_data_is_black(nothing: str, tmp_path: Path) -> None:
    white = COLOUR.copy()
    white[:20], white[20:] = 255, np.minimum(COLOUR[20:], 254)
    tags = [(42113, "s", 0, nothing, True)]
    tifffile.imwrite(tmp_path / "a.tif", white, photometric="rgb", extratags=tags)
    got = rows(tmp_path / "a.tif")
    assert got[:20].min() == got[:20].max() == (0 if nothing == "255" else 255)
    np.testing.assert_array_equal(got[20:], white[20:])


@pytest.mark.parametrize("bits", [2, 4, 10, 12])
def test_grey_of_any_depth_goes_from_black_to_white(bits: int, tmp_path: Path) -> None:
    most = (1 << bits) - 1
    values = (np.arange(4800) % (most + 1)).reshape(60, 80)
    loose = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - bits :]
    path = bare(tmp_path / "a.tif", np.packbits(loose).tobytes(), bits, 1)
    expected = np.floor(values * 255 / most + 0.5)
    np.testing.assert_array_equal(rows(path), np.repeat(expected[..., np.newaxis], 3, axis=2))


def test_ycbcr_that_is_packed_without_jpeg_is_turned_to_rgb(tmp_path: Path) -> None:
    luma = cv2.cvtColor(COLOUR, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    whole = struct.pack("<HHIHH", 530, 3, 2, 1, 1)  # no subsampling
    path = bare(tmp_path / "a.tif", np.ascontiguousarray(luma).tobytes(), 8, 6, 3, whole)
    assert np.abs(rows(path).astype(int) - COLOUR).max() <= 2


def test_a_palette_of_eight_bits_is_not_black(tmp_path: Path) -> None:
    table = np.arange(256, dtype=np.uint16)[np.newaxis].repeat(3, axis=0)
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="palette", colormap=table)
    np.testing.assert_array_equal(rows(tmp_path / "a.tif")[..., 0], GREY)


def test_a_palette_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged TIFF file: its palette is not there"):
        open_raster(bare(tmp_path / "a.tif", GREY.tobytes(), 8, 3))
