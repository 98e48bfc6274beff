"""How long a video file is by its own container, which tells whether it was cut off.

The number of frames that a container tells does not: it is reckoned from the length of the sound or from a rate that
changes, or has frames that an edit leaves out.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

SLACK = 8
"""Bytes that may lack: writers differ in whether they count a chunk's head or its padding."""

_MATROSKA, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def told_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that an MP4, MOV, AVI, Matroska or WebM file says it has, where that is more than it has.

    Returns:
        0 where it is whole, does not say (a recording that was killed), or is of another kind.

    Raises:
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            told = _riff(file, size)
        elif head[:4] == _MATROSKA:
            told = _matroska(file)
        elif head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
            told = _boxes(file, size)
        else:
            told = 0
    return told if told > size + SLACK else 0


def _riff(file: BinaryIO, size: int) -> int:
    """Follow the RIFF chunks of an AVI, one for each gigabyte, to the end of the last."""
    end = 0
    while end < size:
        file.seek(end)
        name, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if name != b"RIFF" or length in {0, 0xFFFFFFFF}:  # nobody came back to fill it in
            break
        end += 8 + length + length % 2
    return end


def _boxes(file: BinaryIO, size: int) -> int:
    """Follow the boxes of an MP4 to the end of the last, where that holds frames."""
    end, name = 0, b""
    while end < size:
        file.seek(end)
        length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:  # noqa: PLR2004 - 0 is up to the end of the file, less is no box
            return 0
        end += length
    return end if name in {b"mdat", b"moof"} else 0


def _matroska(file: BinaryIO) -> int:
    """Return where the segment ends that stands behind the header."""
    file.seek(len(_MATROSKA))
    if (header := _length(file)) is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT or (segment := _length(file)) is None:
        return 0
    return file.tell() + segment


def _length(file: BinaryIO) -> int | None:
    """Read a length of Matroska, whose first bits tell its bytes; None for one that is not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((0x80 >> count) - 1)]) + file.read(count), "big")
    return None if value == (1 << 7 * (count + 1)) - 1 else value
