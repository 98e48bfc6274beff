"""A TIFF or BigTIFF read strip by strip or tile by tile, by tifffile: only the rows asked for are in memory."""

import itertools
import logging
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from kdlight_edge.errors import DataError
from kdlight_edge.picture import MAX_PIXELS, read_picture
from kdlight_edge.survey.georef import Georeference, from_tags
from kdlight_edge.survey.samples import samples_of

MAX_SIDE = 1_000_000
"""Pixels of a side at most."""

MAX_SEGMENT = 128 << 20
"""Bytes of a strip or tile, unpacked, at most: a file that wants more at once is decoded as a whole, or refused."""

MAX_PAGES = 1000
"""Pictures of a file that are looked at."""

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType (TIFF 6.0, tag 254)."""

MAX_ROW = 256 << 20
"""Bytes of a row of strips or tiles over the whole width, as RGB, at most."""

# What tifffile has to say about a damaged file is told once, by us.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_FAULTS = (tifffile.TiffFileError, ValueError, NotImplementedError, RuntimeError, struct.error, IndexError, KeyError,
           OSError, TypeError, OverflowError, MemoryError, ZeroDivisionError, AttributeError)  # fmt: skip
"""What tifffile and its codecs raise for damaged files."""


class UnsuitedError(DataError):
    """A file is not read strip by strip, and may be whole."""


class TiffRaster:
    """The first picture of a file that is no mask and no reduced copy; of the others nothing is read."""

    def __init__(self, path: Path, epsg: int | None = None) -> None:
        """Open it and check that what its header promises is there.

        Raises:
            DataError: it is not a whole TIFF file, or of a kind that is not read here.
        """
        try:
            self._file: Any = tifffile.TiffFile(path)
        except _FAULTS as error:
            raise DataError(_told(error, "its header cannot be read")) from error
        try:
            page, others = _first(self._file)
            self._page = page
            self.width, self.height = int(page.imagewidth), int(page.imagelength)
            self._meaning = samples_of(page)
            self.georeference, self.unplaced = _georeference(page, epsg)
            self.upright = _orientation(page) == 1
            self._whole = self._decoded(path)
        except DataError:
            self._file.close()
            raise
        except _FAULTS as error:
            self._file.close()
            raise DataError(_told(error, "what describes its picture cannot be read")) from error
        self.more = f"{others:,} more of the file's pictures not read; save each as a file" if others else ""
        self._tall = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, self.height))
        self._columns = math.ceil(self.width / page.tilewidth) if page.is_tiled else 1
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self._samples = int(page.samplesperpixel)

    def _decoded(self, path: Path) -> npt.NDArray[np.uint8] | None:
        """Check the file; return its picture where that is read at once, and None where it is read by strips."""
        try:
            _check(self._page, path.stat().st_size)
        except UnsuitedError:
            if self._page.index or self._file.is_bigtiff or self.width * self.height > MAX_PIXELS:
                raise
        else:
            return None
        whole = read_picture(path)
        self.height, self.width = whole.shape[:2]
        return whole

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return rows as `Raster` says; what lies above them is let go."""
        if self._whole is not None:
            return self._whole[top:bottom]
        for number in [number for number in self._blocks if (number + 1) * self._tall <= top]:
            del self._blocks[number]
        result = np.empty((bottom - top, self.width, 3), np.uint8)
        for number in range(top // self._tall, (bottom - 1) // self._tall + 1):
            if number not in self._blocks:
                self._blocks[number] = self._block(number)
            start = number * self._tall
            first, last = max(top, start), min(bottom, start + self._tall)
            result[first - top : last - top] = self._blocks[number][first - start : last - start]
            if last == start + self._tall and number * self._tall < top:
                del self._blocks[number]
        return result

    def _block(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a row of strips or tiles as RGB, uint8 [rows, width, 3]."""
        tall = min(self._tall, self.height - number * self._tall)
        block = np.zeros((tall, self.width, 3), np.uint8)
        wide = self.width if self._columns == 1 else int(self._page.tilewidth)
        for column in range(self._columns):
            left = column * wide
            part = self._segment(number * self._columns + column)
            if part is not None:
                across = min(wide, self.width - left)
                if part.shape[0] < tall or part.shape[1] < across:
                    raise DataError(f"damaged TIFF file: strip or tile {number} is smaller than its header says")
                block[:, left : left + across] = part[:tall, :across]
        return block

    def _segment(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Return one strip or tile as RGB; None where the file leaves it out (nothing was seen there)."""
        page = self._page
        planes = [index]
        if page.planarconfig == 2 and self._samples > 1:  # noqa: PLR2004 - each colour in strips of its own
            each = math.ceil(self.height / self._tall) * self._columns
            planes = [index + each * sample for sample in range(self._samples)]
        parts = []
        for plane in planes:
            offset, count = page.dataoffsets[plane], page.databytecounts[plane]
            if not count:
                return None
            try:
                self._file.filehandle.seek(offset)
                data = self._file.filehandle.read(count)
                decoded, _, shape = page.decode(data, plane, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
            except _FAULTS as error:
                raise DataError(_told(error, f"strip or tile {plane} cannot be unpacked")) from error
            if decoded is None:
                return None
            parts.append(decoded.reshape(decoded.shape[1:])[: shape[1], : shape[2]])
        return self._meaning.rgb(np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0])

    def close(self) -> None:
        """Let go of the file."""
        self._blocks.clear()
        self._file.close()


def _first(file: Any) -> tuple[Any, int]:
    """Return the picture that is read, and how many others there are that are no masks and no reduced copies."""
    if not file.pages:
        raise DataError("truncated or damaged TIFF file: what should describe its picture is not there")
    whole, first = 0, None
    try:
        for page in itertools.islice(file.pages, MAX_PAGES):
            if not int(page.subfiletype) & (_REDUCED | _MASK):
                whole += 1
                first = page if first is None else first
    except _FAULTS:  # what comes behind a picture that is whole
        pass
    return (file.pages[0] if first is None else first), max(0, whole - 1)


def _check(page: Any, size: int) -> None:
    """Refuse what cannot be read, before anything is unpacked."""
    width, height = int(page.imagewidth), int(page.imagelength)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise DataError(f"damaged TIFF file: {width}x{height} pixels are not 1 to {MAX_SIDE:,} a side")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise DataError(
            f"a TIFF of compression {int(page.compression)}, which is not unpacked here; save it with another "
            "(gdal_translate -co COMPRESS=DEFLATE)"
        )
    if (orientation := _orientation(page)) != 1:
        raise UnsuitedError(f"a TIFF that lies on its side (orientation {orientation}); save it upright")
    tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    if tall < 1 or wide < 1:
        raise DataError("damaged TIFF file: its strips have no rows")
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    segment = tall * wide * samples * page.dtype.itemsize
    for size_of, what, most in (
        (segment, "strips or tiles", MAX_SEGMENT),
        (tall * width * 3, "rows of tiles over the whole width", MAX_ROW),
    ):
        if size_of > most:
            raise UnsuitedError(
                f"{what} of {math.ceil(size_of / (1 << 20)):,} MB are more than {most >> 20:,} MB; "
                "save it with smaller ones (gdal_translate -co TILED=YES)"
            )
    count = math.ceil(height / tall) * math.ceil(width / wide) * (page.samplesperpixel if samples == 1 else 1)
    _check_segments(page, count, size)


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    return 1 if tag is None or not tag.value else int(tag.value)


def _check_segments(page: Any, count: int, size: int) -> None:
    offsets, lengths = page.dataoffsets, page.databytecounts
    if len(offsets) < count or len(lengths) < count:
        raise DataError(
            f"damaged TIFF file: {page.imagewidth}x{page.imagelength} pixels need {count:,} strips or tiles, "
            f"it has {min(len(offsets), len(lengths)):,}"
        )
    lost = sum(offset + length > size for offset, length in zip(offsets, lengths, strict=False))
    if lost:
        raise DataError(f"truncated TIFF file: {lost:,} of {count:,} strips or tiles lie behind its end")


def _georeference(page: Any, epsg: int | None) -> tuple[Georeference | None, str]:
    def numbers(tag: int) -> list[float] | None:
        found = page.tags.get(tag)
        return None if found is None else [float(value) for value in np.atleast_1d(found.value)]

    keys: dict[int, int] = {}
    directory = [int(value) for value in numbers(34735) or ()]
    for at in range(4, len(directory) - 3, 4):
        key, where, _, value = directory[at : at + 4]
        if not where:
            keys[key] = value
    try:
        return from_tags(numbers(33550), numbers(33922), numbers(34264), keys, epsg)
    except (ValueError, TypeError, ArithmeticError):
        return None, "its georeference is damaged"


def _told(error: BaseException, trouble: str) -> str:
    """Return what went wrong in our words: those of tifffile and its codecs are for programmers."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"damaged TIFF file: {trouble}"
