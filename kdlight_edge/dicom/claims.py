"""Whether what a compressed frame claims about itself can be, asked before a decoder believes it.

A stream of some kilobytes may claim a gigabyte of pixels in a header of its own, and decoders allocate and fill them
before they see that nothing is there: seconds and memory that a small board does not have.
"""

import struct

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEGTransferSyntaxes, RLELossless

from kdlight_edge.errors import DataError

RLE_RATIO = 64
"""Bytes that one byte of run-length coding can stand for at most: two for a run of 128 (PS3.5, G.3.1)."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of a frame header; the last is that of JPEG-LS."""

_SCAN = 0xDA
_SIZE = b"\xff\x4f\xff\x51"
"""Beginning of a JPEG 2000 codestream, with the marker of its sizes (ITU-T T.800, A.5.1)."""


def check_claims(dataset: Dataset, index: int) -> None:
    """Compare a compressed frame with the object's header; nothing is asked of uncompressed ones.

    Raises:
        DataError: the frame says that it has another size, or is too short for its size.
        Exception: whatever pydicom makes of torn fragments.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID") if "file_meta" in dataset.__dict__ else None
    if syntax is None or not (syntax == RLELossless or syntax in JPEGTransferSyntaxes or "JPEG" in syntax.name):
        return
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = max(1, int(dataset.get("NumberOfFrames") or 1))
    content = get_frame(dataset.PixelData, index, number_of_frames=frames)
    if syntax == RLELossless:
        wanted = rows * columns * int(dataset.SamplesPerPixel) * max(1, int(dataset.BitsAllocated) // 8)
        if wanted > len(content) * RLE_RATIO:
            raise DataError(f"{len(content):,} bytes of run lengths cannot hold {columns}x{rows} pixels")
        return
    found = claimed(content)
    if found is not None and found != (columns, rows):
        raise DataError(f"the compressed frame says {found[0]}x{found[1]} pixels, its header {columns}x{rows}")


def claimed(content: bytes) -> tuple[int, int] | None:
    """Return width and height as a JPEG, JPEG-LS or JPEG 2000 stream has them; None where they are not found."""
    start = content.find(_SIZE)
    if start >= 0 and len(content) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">IIII", content, start + 8)
        return right - left, bottom - top
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:  # noqa: PLR2004 - every marker begins with it
        marker = content[place + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        if marker == _SCAN:
            return None
        place += 1 if marker == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], "big")  # noqa: PLR2004 - fill
    return None
