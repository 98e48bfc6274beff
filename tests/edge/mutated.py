"""A process that decodes damaged files one after the other and tells how far it came; equal numbers, equal files.

usage: mutated.py KIND COUNT PROGRESS [FIRST]

The number of the file that is being decoded stands in PROGRESS (8 bytes, rewritten), so that whoever watches knows at
which one this process crashed or hangs. Stdout: one JSON object at the end.
"""

import ctypes
import json
import os
import random
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from kdlight_edge.errors import DataError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.meter import peak_rss_bytes, rss_bytes
from kdlight_edge.picture import decode

SIZES = (0, 1, 0xFFFF, 20_000, 12_000)
"""Widths and heights that a header may be made to claim; some products are just below what is unpacked at all."""

SYNTAXES = {
    "plain": "MR_small.dcm",
    "deflated": "image_dfl.dcm",
    "rle": "SC_rgb_rle.dcm",
    "jpeg-baseline": "SC_rgb_jpeg_dcmtk.dcm",
    "jpeg-12-bit": "JPGExtended.dcm",
    "jpeg-ls": "MR_small_jpeg_ls_lossless.dcm",
    "jpeg-2000": "MR_small_jp2klossless.dcm",
}
"""Kind to a file that pydicom brings."""


def _picture() -> Any:
    base = np.add.outer(np.arange(36), np.arange(48) * 2).astype(np.uint8)
    noise = np.random.default_rng(3).integers(0, 60, (36, 48, 3), np.uint8)
    return base[..., None] + noise


def _encoded(suffix: str, *flags: int, deep: bool = False) -> bytes:
    picture = _picture().astype(np.uint16) * 257 if deep else _picture()
    return cv2.imencode(suffix, picture, list(flags))[1].tobytes()


PICTURES = {
    "jpeg": _encoded(".jpg"),
    "jpeg-progressive": _encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": _encoded(".png"),
    "png-16-bit": _encoded(".png", deep=True),
    "webp": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "webp-lossless": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "bmp": _encoded(".bmp"),
    "tiff": _encoded(".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 5),  # LZW
    "tiff-16-bit": _encoded(".tiff", deep=True),
}
"""Kind to an encoded picture of 48x36."""


def mutate(content: bytes, number: int) -> bytes:
    """Return damage number ``number`` of a file: flipped bits, an end cut off, a wrong header, a huge size, a block."""
    dice = random.Random(number)
    torn = bytearray(content)
    way = number % 5
    if way == 0:
        for _ in range(dice.randint(1, 8)):
            torn[dice.randrange(len(torn))] ^= 1 << dice.randrange(8)
    elif way == 1:
        del torn[dice.randrange(1, len(torn)) :]
    elif way == 2:
        for _ in range(dice.randint(1, 6)):
            torn[dice.randrange(min(160, len(torn)))] = dice.randrange(256)
    elif way == 3:
        _claim(torn, dice)
    else:
        start, length = dice.randrange(len(torn)), dice.randrange(1, 40)
        torn[start : start + dice.randrange(length)] = dice.randbytes(length) if dice.random() < 0.5 else bytes(length)
    return _checksums(torn) if torn[:4] == b"\x89PNG" and dice.random() < 0.8 else bytes(torn)


def _claim(torn: bytearray, dice: random.Random) -> None:
    """Let the header claim another size."""
    width, height = dice.choice(SIZES), dice.choice(SIZES)
    if torn[:2] == b"\xff\xd8":
        for place in range(2, len(torn) - 9):
            if torn[place] == 0xFF and torn[place + 1] in {0xC0, 0xC2}:
                struct.pack_into(">HH", torn, place + 5, height, width)
                return
    elif torn[:4] == b"\x89PNG":
        struct.pack_into(">II", torn, 16, width, height)
    elif torn[:2] == b"BM":
        struct.pack_into("<ii", torn, 18, width, dice.choice((height, -height)))
    elif torn[:4] == b"RIFF":
        struct.pack_into("<HH", torn, 26 if torn[12:16] == b"VP8 " else 21, width & 0x3FFF, height & 0x3FFF)
    else:
        _elements(torn, dice, width, height)


def _elements(torn: bytearray, dice: random.Random, width: int, height: int) -> None:
    """Rewrite the tags of a TIFF, or the elements of a DICOM object, that hold a size or the number of bits."""
    tags = [struct.pack("<HHI", tag, kind, 1) for tag in (256, 257, 258, 277, 278) for kind in (3, 4)]
    tags += [
        b"\x28\x00" + element + b"\x00US\x02\x00" for element in (b"\x10", b"\x11", b"\x00\x01", b"\x01\x01", b"\x02")
    ]
    for tag in tags:
        place = torn.find(tag)
        if place >= 0 and dice.random() < 0.6:
            struct.pack_into("<H", torn, place + len(tag), dice.choice((width, height)))


def _checksums(torn: bytearray) -> bytes:
    """Set the checksums of a PNG right, so that its decoder is reached."""
    place = 8
    while place + 12 <= len(torn):
        end = place + 12 + int.from_bytes(torn[place : place + 4], "big")
        if end > len(torn):
            break
        torn[end - 4 : end] = zlib.crc32(torn[place + 4 : end - 4]).to_bytes(4, "big")
        place = end
    return bytes(torn)


def _dicom(kind: str) -> tuple[bytes, Callable[[bytes], bool]]:
    from pathlib import Path

    from pydicom.data import get_testdata_file

    from kdlight_edge.dicom.scan import frame_of, frames_of, read

    def show(content: bytes) -> bool:
        dataset = read(content)
        shown = False
        for number in range(min(frames_of(dataset), 2)):
            item = frame_of(dataset, number, captured=Moment.now(), source="x", index=0, more={})
            shown |= isinstance(item, Frame)
        return shown

    return Path(str(get_testdata_file(SYNTAXES[kind], download=False))).read_bytes(), show


def _show(content: bytes) -> bool:
    image = decode(content)
    return image.dtype == np.uint8 and image.ndim == 3


def main() -> int:
    """Decode the files; anything but a picture or a `DataError` ends the process with its trace."""
    kind, count, progress = sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_RDWR | os.O_CREAT)
    content, show = _dicom(kind) if kind in SYNTAXES else (PICTURES[kind], _show)
    assert show(content), f"{kind}: the file is well before it is damaged"
    shown = refused = settled = 0
    for number in range(int(sys.argv[4]) if len(sys.argv) > 4 else 0, count):
        os.pwrite(progress, struct.pack("<q", number), 0)
        try:
            shown += show(mutate(content, number))
        except DataError:
            refused += 1
        if number == count // 4:
            settled = _resident()
    found = {"shown": shown, "refused": refused, "growth": _resident() - settled, "peak": peak_rss_bytes()}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _resident() -> int:
    """Return the resident memory once freed blocks were given back: what is left is held by somebody."""
    ctypes.CDLL(None).malloc_trim(0)
    return rss_bytes()


if __name__ == "__main__":
    raise SystemExit(main())
