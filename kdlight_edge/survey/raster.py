"""A picture of any size, given by rows: what fits is decoded once, an orthomosaic is read strip by strip."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.header import read_header
from kdlight_edge.picture import decode, read_file
from kdlight_edge.survey.georef import Georeference, from_world_file


class Raster(Protocol):
    """An opened picture."""

    width: int
    height: int
    georeference: Georeference | None
    unplaced: str
    """Why a georeference that is there cannot be used; empty where nothing is wrong."""
    upright: bool
    """Whether its rows are those of the file; one that lies on its side, by its EXIF orientation, was turned."""
    more: str
    """What else the file holds and is not read; empty where that is nothing."""

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return rows ``top`` to ``bottom``, uint8 [bottom - top, width, 3] RGB, not to be written to.

        Asked from the top down; a row may be asked for again in the next call, not later.

        Raises:
            DataError: they cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Whole:
    """A picture that was decoded at once."""

    def __init__(self, path: Path, georeference: Georeference | None, unplaced: str) -> None:
        """Decode it; raises as `open_raster`."""
        try:
            content = read_file(path)
        except OSError as error:
            raise DataError(f"cannot be opened: {error.strerror}") from error
        image = self._image = decode(content)
        self.upright = read_header(content).orientation == 1
        self.height, self.width = image.shape[:2]
        self.georeference, self.unplaced, self.more = georeference, unplaced, ""

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return a view."""
        return self._image[top:bottom]

    def close(self) -> None:
        """Nothing is held but memory."""


def open_raster(path: Path, epsg: int | None = None) -> Raster:
    """Open a JPEG, PNG, BMP, WebP or TIFF file; ``epsg`` is of a georeference that does not name its own.

    Raises:
        DataError: it is not a whole picture, or too large to be decoded at once and no TIFF.
        ModuleNotFoundError: a TIFF, and the packages of ``[survey]`` are not installed.
    """
    georeference, unplaced = from_world_file(path, epsg)
    if _is_tiff(path):
        from kdlight_edge.survey.tiff import TiffRaster

        opened: Raster = TiffRaster(path, epsg)
        if opened.georeference is None and (georeference or unplaced):
            opened.georeference, opened.unplaced = georeference, unplaced
    else:
        opened = Whole(path, georeference, unplaced)
    here = opened.georeference
    if here is not None and not opened.upright:  # it is of the pixels as they lie in the file
        here = opened.georeference = None
        opened.unplaced = "its georeference is of a picture that lies on its side"
    if here is not None and not here.holds(opened.width, opened.height):
        opened.georeference = None
        opened.unplaced = f"its georeference lies outside of EPSG {here.epsg}, so its numbers are of another system"
    return opened


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}") from error
