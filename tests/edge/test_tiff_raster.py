"""Of a TIFF the picture is read, not its reduced copy; what is not read is told, and so is why it cannot be."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_edge.survey.raster import Raster, open_raster

tifffile = pytest.importorskip("tifffile", reason="the extra survey is not installed")

MODEL = str(Path(__file__).resolve().parents[2] / "models" / "surface-crack.kdl")
NOISE: npt.NDArray[Any] = np.random.default_rng(1).integers(90, 200, (96, 128, 3), np.uint8)


def written(path: Path, *pages: tuple[npt.NDArray[Any], int]) -> Path:
    """Write pictures with their kinds: 0 whole, 1 reduced copy, 4 mask."""
    with tifffile.TiffWriter(path) as file:
        for image, kind in pages:
            if kind & 4:
                file.write(image[..., 0] > 0, subfiletype=kind, metadata=None)
            else:
                file.write(image, photometric="rgb", subfiletype=kind, metadata=None)
    return path


def opened(path: Path) -> Raster:
    raster = open_raster(path)
    raster.close()
    return raster


def test_a_reduced_copy_that_comes_first_is_not_the_picture(tmp_path: Path) -> None:
    raster = open_raster(written(tmp_path / "a.tif", (NOISE[::4, ::4], 1), (NOISE, 0)))
    np.testing.assert_array_equal(raster.rows(0, raster.height), NOISE)
    assert raster.more == ""
    raster.close()


def test_pictures_behind_the_first_are_told_and_copies_and_masks_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = (NOISE[::2, ::2], 1), (NOISE, 4), (NOISE[::2, ::2], 5)
    assert opened(written(tmp_path / "a.tif", (NOISE, 0), *copies)).more == ""
    path = written(tmp_path / "a.tif", (NOISE, 0), *copies, (NOISE, 0), (NOISE, 0))
    assert main(["infer", "--source", str(path), "--model", MODEL, "--tiles", "64", "--json"]) == 0
    assert '"note": "2 more of the file\'s pictures not read; save each as a file"' in capsys.readouterr().out


def test_what_is_too_large_is_named_with_its_own_size(tmp_path: Path) -> None:
    tile = np.zeros((4096, 4096, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", (tile for _ in range(6)), shape=(4096, 24_000, 3), dtype="uint8", photometric="rgb",
        tile=tile.shape[:2], compression="zlib", bigtiff=True,
    )  # fmt: skip
    with pytest.raises(DataError, match="rows of tiles over the whole width of 282 MB are more than 256 MB"):
        open_raster(tmp_path / "a.tif")
    large = np.zeros((6000, 9000, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", large, photometric="rgb", rowsperstrip=6000, compression="zlib", bigtiff=True)
    with pytest.raises(DataError, match="strips or tiles of 155 MB are more than 128 MB"):
        open_raster(tmp_path / "a.tif")


def test_a_photograph_in_one_large_strip_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.survey.tiff.MAX_SEGMENT", 1000)
    path = written(tmp_path / "a.tif", (NOISE, 0), (NOISE, 0))
    raster = open_raster(path)
    np.testing.assert_array_equal(raster.rows(7, raster.height), NOISE[7:])
    assert raster.more.startswith("1 more")
    raster.close()
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match="TIFF file"):
        open_raster(path)
    with pytest.raises(DataError, match="strips or tiles of 1 MB"):  # OpenCV would read the copy
        open_raster(written(path, (NOISE[::4, ::4], 1), (NOISE, 0)))


@pytest.mark.parametrize("orientation", [0, 1, 3, 6])
def test_a_photograph_that_lies_on_its_side_is_read_upright(orientation: int, tmp_path: Path) -> None:
    place = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 3e5, 5e6, 0.0), True)]
    tags = [*place, (274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", NOISE, photometric="rgb", extratags=tags)
    raster = open_raster(tmp_path / "a.tif", 32632)
    turned = {3: NOISE[::-1, ::-1], 6: NOISE.transpose(1, 0, 2)[:, ::-1]}.get(orientation, NOISE)
    np.testing.assert_array_equal(raster.rows(0, raster.height), turned)
    assert (raster.width, raster.height) == turned.shape[1::-1]
    assert (raster.georeference is None) == ("on its side" in raster.unplaced) == (orientation > 1)
    raster.close()


def test_planes_are_found_where_the_list_of_tiles_is_longer_than_it_should_be(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(NOISE, 2, 0))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", tile=(32, 32))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        entry, count = file.pages[0].tags[324].offset, file.pages[0].tags[324].count
    struct.pack_into("<I", content, entry + 4, count + 9)
    (tmp_path / "a.tif").write_bytes(content)
    raster = open_raster(tmp_path / "a.tif")
    np.testing.assert_array_equal(raster.rows(0, raster.height), NOISE)
    raster.close()
