"""Whether a video file was cut off, by what its own container says of its bytes or by how it ends.

The number of frames that a container tells does not: it is reckoned from the length of the sound or from a rate that
changes, or has frames that an edit leaves out.
"""

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

SLACK = 8
"""Bytes that may lack: writers differ in whether they count a chunk's head or its padding."""

_TAIL = 1 << 17
"""Bytes at the end of a stream that are looked at: more than its longest packet."""

_NO_END = "its last picture has no end"
_JPEG, _JPEG_END, _PACK = b"\xff\xd8\xff", b"\xff\xd9", b"\0\0\1\xba"
_MATROSKA, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def cut_off(path: str | os.PathLike[str], *, all_read: bool = False) -> str:
    """Return what a video file lacks that was cut off; empty where it is whole, does not say, or is a pipe.

    An MP4, MOV, AVI, Matroska or WebM file says how long it is (`told_bytes`); streams of JPEG, MPEG-TS and MPEG-PS do
    not, but show where their last picture or packet is torn. With ``all_read`` as many frames were read as
    the container counts: bytes that lack there held none.

    Raises:
        OSError: it cannot be read.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe whose writer has gone would wait for ever
        return ""
    if told := told_bytes(path):
        return "" if all_read else f"{status.st_size:,} of {told:,} bytes are there"
    with Path(path).open("rb") as file:
        head = file.read(1 << 10)
        file.seek(max(0, status.st_size - _TAIL))
        tail = file.read()
    if head.startswith((_JPEG, b"--")) and _JPEG in head:
        return _torn_jpeg(tail)
    if head.startswith(_PACK):
        return _torn_packet(tail)
    length = next((size for size, first in ((188, 0), (192, 4), (204, 0)) if set(head[first::size]) == {0x47}), 0)
    torn = status.st_size % length if length else 0
    return f"its last packet has {torn} of {length} bytes" if torn else ""


def _torn_jpeg(tail: bytes) -> str:
    """Tell whether a stream of JPEGs ends within one; what stands between them is text or padding."""
    end = tail.rfind(_JPEG_END)
    behind = tail[end + len(_JPEG_END) :] if end >= 0 else tail
    return "" if end >= 0 and all(32 <= byte < 127 or byte in b"\0\t\r\n" for byte in behind) else _NO_END  # noqa: PLR2004 - ASCII


def _torn_packet(tail: bytes) -> str:
    """Tell whether an MPEG program stream ends within a packet that tells its length (ISO 13818-1, 2.5.3)."""
    start = max(tail.rfind(b"\0\0\1" + bytes([kind])) for kind in range(0xBC, 0xF0))
    if start < 0 or len(tail) - start < 6:  # noqa: PLR2004 - the head of a packet
        return ""
    there, told = len(tail) - start, 6 + int.from_bytes(tail[start + 4 : start + 6], "big")
    return f"its last packet has {there:,} of {told:,} bytes" if there < told else ""


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
