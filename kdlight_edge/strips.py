"""Whether the strips and tiles of a TIFF can be unpacked: OpenCV leaves a damaged one black and says nothing."""

import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from kdlight_edge.errors import DataError
from kdlight_edge.header import tiff_tags

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES = 256, 257, 258, 259, 262, 277, 284
_FILL, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = 266, 278, 322, 323
_LZW, _PACKBITS, _DEFLATE, _YCBCR = 5, 32773, frozenset({8, 32946}), 6

_BACKWARDS = 2
"""Of `_FILL`: the first bit of a byte is its lowest."""

_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

PACKED, CHUNK = 1 << 16, 1 << 20
"""Bytes that are unpacked at a time, and that they may become."""

MOST = 4 << 30
"""Bytes that all parts may have once they are unpacked: a picture that is read has a third, and tiles stand over."""

PARTS = 1 << 20
"""Strips or tiles that are looked at."""

WIDEST = 1 << 20
"""Pixels of a row that OpenCV reads at most."""


def check_strips(content: bytes) -> None:
    """Unpack what is packed by deflate, LZW or PackBits, and see that no other part is too short or empty.

    Deflate ends in a sum over its bytes; what damaged LZW or PackBits unpacks to at its full length is not told from a
    picture.

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
            stream = bytes(part).translate(_TURNED) if one.get(_FILL) == _BACKWARDS else part
            whole = _unpacks(memoryview(stream), size, most=sizes[0] + CHUNK, counted=counted)
        elif compression == 1 and counted and len(sizes) > 1:  # of a single one libtiff corrects the length itself
            whole = not length or length >= size
        elif compression in {_LZW, _PACKBITS} and length and counted:
            whole = _decodes(part, size, compression, one.get(_FILL, 1))
            if whole and compression == _PACKBITS:  # any bytes are runs there, but seldom of the right length
                whole = not _decodes(part, max(size, sizes[0]), compression, one.get(_FILL, 1), more=1)
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


def _unpacks(part: memoryview, size: int, *, most: int, counted: bool) -> bool:
    """Whether a part is deflate to its end, where a sum over its bytes stands, and has its size.

    One that is not ended must have exactly its size: zeros in the place of its second half unpack to something, too.
    """
    stream, done = zlib.decompressobj(), 0
    try:
        for start in range(0, len(part), PACKED):
            rest = bytes(part[start : start + PACKED])
            while rest and not stream.eof and done <= most:  # a kilobyte may become a thousand
                done += len(stream.decompress(rest, CHUNK))
                rest = stream.unconsumed_tail
        done += len(stream.flush()) if done < size else 0  # the end of a match, where the last piece was just full
    except zlib.error:
        return False
    return (stream.eof and (done >= size or not counted)) or done == size


def _decodes(part: memoryview, size: int, compression: int, fill: int, more: int = 0) -> bool:
    """Whether OpenCV unpacks a part to so many bytes, but for a few at its end, or to a few ``more``.

    It tells of a picture of 16 bits that it does not, and of none of 8 bits; so the part is shown to it as such.
    """
    rows = max(1, -(-size // WIDEST))
    columns = size // 2 // rows + more
    if not columns:
        return True
    entries = (
        (_WIDTH, columns), (_HEIGHT, rows), (_BITS, 16), (_COMPRESSION, compression), (_PHOTOMETRIC, 1), (_FILL, fill),
        (273, 0), (_SAMPLES, 1), (_ROWS, rows), (279, len(part)),
    )  # fmt: skip
    begin = 8 + 2 + 12 * len(entries) + 4
    told = [struct.pack("<HHII", tag, 4, 1, begin if tag == 273 else value) for tag, value in entries]  # noqa: PLR2004 - where the strip is
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(told) + bytes(4)
    try:
        found: Any = cv2.imdecode(np.frombuffer(head + part, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return False
    return found is not None
