"""A TIFF of any kind comes out as a viewer shows it, or is refused by its name: OpenCV misreads some without a word."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from kdlight_edge.errors import DataError
from kdlight_edge.picture import read_picture

tifffile = pytest.importorskip("tifffile", reason="the extra survey is not installed")

Pixels = npt.NDArray[Any]

GREY: Pixels = (np.add.outer(np.arange(60) * 2, np.arange(80)) + 20).astype(np.uint8)
COLOUR: Pixels = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)
SHARE: Pixels = np.full((60, 80, 1), 100, np.uint8)


def written(path: Path, image: Pixels, **options: Any) -> Path:
    tifffile.imwrite(path, image, metadata=None, **options)
    return path


def deep(image: Pixels, bits: int) -> Pixels:
    return image.astype(np.uint16) * 257 if bits == 16 else image


@pytest.mark.parametrize("compression", ["jpeg2000", "png", "jpegxl", "zstd", "lzma", "webp"])
def test_a_compression_that_opencv_does_not_know_is_told_and_never_a_black_picture(
    compression: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.tif", COLOUR, photometric="rgb", compression=compression)
    with pytest.raises(DataError, match=r"a TIFF of compression \d+, which is not unpacked here; save it as"):
        read_picture(path)


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_a_part_that_a_broken_copy_left_empty_is_damage_and_never_a_black_stripe(
    compression: str, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    rows = None if tile else 16
    path = written(tmp_path / "a.tif", COLOUR, photometric="rgb", compression=compression, rowsperstrip=rows, tile=tile)
    np.testing.assert_array_equal(read_picture(path), COLOUR)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[2], file.pages[0].databytecounts[2]
    content[offset : offset + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged TIFF file: strip or tile 2 cannot be unpacked"):
        read_picture(path)
    path.write_bytes(content[: offset + length // 2])
    with pytest.raises(DataError, match="truncated TIFF file: strip or tile 2 lies behind its end"):
        read_picture(path)


@pytest.mark.parametrize("where", ["zeros", "another file"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_a_part_of_which_the_second_half_is_lost_is_damage_and_never_a_black_stripe(
    compression: str, tile: tuple[int, int] | None, where: str, tmp_path: Path
) -> None:
    rows = None if tile else 16
    path = written(tmp_path / "a.tif", COLOUR, photometric="rgb", compression=compression, rowsperstrip=rows, tile=tile)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    lost = bytes(length) if where == "zeros" else np.random.default_rng(1).bytes(length)
    content[offset + length // 2 : offset + length] = lost[length // 2 :]
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged TIFF file: strip or tile 1 cannot be unpacked"):
        read_picture(path)


def test_a_flipped_bit_in_deflate_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", COLOUR, photometric="rgb", compression="zlib", rowsperstrip=16)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    for place in range(offset, offset + length, 7):
        content = bytearray(whole)
        content[place] ^= 16
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged TIFF file: strip or tile 1 cannot be unpacked"):
            read_picture(path)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 13), (1201, 1001)])
@pytest.mark.parametrize("options", [{"rowsperstrip": 1}, {"rowsperstrip": 5000}, {"tile": (32, 32)}])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_a_whole_part_of_any_size_is_no_damage(
    compression: str, options: dict[str, Any], height: int, width: int, tmp_path: Path
) -> None:
    image = np.resize(COLOUR, (height, width, 3))
    path = written(tmp_path / "a.tif", image, photometric="rgb", compression=compression, **options)
    np.testing.assert_array_equal(read_picture(path), image)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw", "packbits"])
def test_bits_that_run_backwards_are_no_damage(compression: str, tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", compression=compression, tiffinfo={266: 2})  # FillOrder
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), COLOUR)


@pytest.mark.parametrize("compression", ["zlib", None])
def test_a_strip_that_is_shorter_than_its_rows_is_damage(compression: str | None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", COLOUR, photometric="rgb", compression=compression, rowsperstrip=16)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[279]
    size = {3: 2, 4: 4}[int(entry.dtype)]
    at = entry.valueoffset + 2 * size
    content[at : at + size] = (20).to_bytes(size, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged TIFF file: strip or tile 2 cannot be unpacked"):
        read_picture(path)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_transparency_is_laid_over_white_once(kind: str, bits: int, tmp_path: Path) -> None:
    share = SHARE / 255
    colour = np.rint(COLOUR * share).astype(np.uint8) if kind == "assocalpha" else COLOUR
    both = deep(np.concatenate([colour, SHARE], axis=2), bits)
    path = written(tmp_path / "a.tif", both, photometric="rgb", extrasamples=[kind])
    assert np.abs(read_picture(path) - (COLOUR * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_a_band_beside_the_colours_is_no_transparency(bits: int, tmp_path: Path) -> None:
    both = deep(np.concatenate([COLOUR, SHARE], axis=2), bits)
    path = written(tmp_path / "a.tif", both, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_picture(path), COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_picture_that_lies_on_its_side_is_turned_once(
    orientation: int, tile: tuple[int, int] | None, tmp_path: Path, *, alpha: bool
) -> None:
    image = np.concatenate([COLOUR, np.full_like(SHARE, 255)], axis=2) if alpha else COLOUR
    path = written(
        tmp_path / "a.tif", image, photometric="rgb", tile=tile, extratags=[(274, "H", 1, orientation, True)],
        **({"extrasamples": ["unassalpha"]} if alpha else {}),
    )  # fmt: skip
    # TIFF 6.0, tag 274: where the first row and the first column of the file belong.
    upright = COLOUR.transpose(1, 0, 2) if orientation >= 5 else COLOUR
    upright = upright[:: -1 if orientation in {3, 4, 7, 8} else 1, :: -1 if orientation in {2, 3, 6, 7} else 1]
    np.testing.assert_array_equal(read_picture(path), upright)


@pytest.mark.parametrize("bits", [8, 16])
def test_where_white_is_zero_the_picture_is_no_negative(bits: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", deep(255 - GREY, bits), photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(path)[..., 0], GREY)


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (np.moveaxis(deep(COLOUR, 16), 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, "separate planes"),
        (np.dstack([GREY, GREY]), {"tile": (32, 32), "extrasamples": ["unassalpha"]}, "two samples a pixel in tiles"),
        (np.dstack([COLOUR, GREY, GREY]), {"photometric": "rgb"}, "5 samples a pixel"),
        (COLOUR, {"photometric": "rgb", "bigtiff": True}, "a BigTIFF, which only --tiles reads"),
    ],
)
def test_what_opencv_would_misread_is_refused_by_its_name(
    image: Pixels, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        read_picture(written(tmp_path / "a.tif", image, **options))
