"""Whether the strips and tiles of a TIFF can be unpacked: OpenCV leaves a damaged one black and says nothing."""

import math
import zlib
from collections.abc import Mapping

from kdlight_edge.errors import DataError
from kdlight_edge.header import tiff_tags

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES = 256, 257, 258, 259, 262, 277, 284
_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_DEFLATE, _YCBCR = frozenset({8, 32946}), 6

PACKED, CHUNK = 1 << 16, 1 << 20
"""Bytes that are unpacked at a time, and that they may become."""

MOST = 4 << 30
"""Bytes that all parts may have once they are unpacked: a picture that is read has a third, and tiles stand over."""

PARTS = 1 << 20
"""Strips or tiles that are looked at."""


def check_strips(content: bytes) -> None:
    """Unpack what is packed by deflate, and see that no other part is too short, or empty after a broken copy.

    Raises:
        DataError: a part lies behind the end of the file, or cannot be unpacked to what it should be.
    """
    tags = tiff_tags(content)
    one = {name: values[0] for name, values in tags.items() if values}
    tiled = one.get(_TILE_WIDTH, 0) > 0
    offsets, lengths = (tags.get(324, ()), tags.get(325, ())) if tiled else (tags.get(273, ()), tags.get(279, ()))
    compression, counted = one.get(_COMPRESSION, 1), one.get(_PHOTOMETRIC) != _YCBCR
    sizes = _sizes(one, tiled=tiled)
    if sum(sizes) > MOST:
        raise DataError(f"damaged TIFF file: its strips or tiles unpack to {sum(sizes):,} bytes")
    for number, (size, offset, length) in enumerate(zip(sizes, offsets, lengths, strict=False)):
        if offset + length > len(content):
            raise DataError(f"truncated TIFF file: strip or tile {number} lies behind its end")
        part, whole = memoryview(content)[offset : offset + length], True
        if compression in _DEFLATE:
            whole = _unpacks(part, size, counted=counted)
        elif compression == 1 and counted and len(sizes) > 1:  # of a single one libtiff corrects the length itself
            whole = not length or length >= size
        elif compression != 1 and length:
            whole = part[0] != 0 or bytes(part).count(0) < length
        if not whole:
            raise DataError(f"damaged TIFF file: strip or tile {number} cannot be unpacked")


def _sizes(one: Mapping[int, int], *, tiled: bool) -> list[int]:
    """Return how many bytes each part has once it is unpacked; of YCbCr at most."""
    width, height, samples = one.get(_WIDTH, 0), one.get(_HEIGHT, 0), one.get(_SAMPLES, 1)
    planes, samples = (1, samples) if one.get(_PLANES, 1) == 1 else (samples, 1)
    wide = one[_TILE_WIDTH] if tiled else width
    tall = one.get(_TILE_HEIGHT, 0) if tiled else min(one.get(_ROWS, height), height)
    if not (wide and tall):
        return []
    row, down = math.ceil(wide * samples * one.get(_BITS, 1) / 8), math.ceil(height / tall)
    if tiled:
        across = math.ceil(width / wide)
        return [tall * row] * min(across * down * planes, PARTS)
    plane = [tall * row] * min(down - 1, PARTS) + [(height - (down - 1) * tall) * row]
    return plane * min(planes, PARTS // len(plane) + 1)


def _unpacks(part: memoryview, size: int, *, counted: bool) -> bool:
    stream, done = zlib.decompressobj(), 0
    try:
        for start in range(0, len(part), PACKED):
            rest = bytes(part[start : start + PACKED])
            while rest and not stream.eof and done < size:
                done += len(stream.decompress(rest, CHUNK))
                rest = stream.unconsumed_tail
        done += len(stream.flush()) if done < size else 0  # the end of a match, where the last piece was just full
    except zlib.error:
        return False
    return done >= size or (stream.eof and not counted)
