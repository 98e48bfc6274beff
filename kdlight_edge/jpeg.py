"""JPEG by libjpeg-turbo without OpenCV around it, the same pixels in less time, and told where some are lost."""

import re

import numpy as np
import numpy.typing as npt
import simplejpeg

from kdlight_edge.errors import DataError

LOST = re.compile(
    "bad Huffman code|premature end of data segment|found marker 0x.. instead of RST."
    r"|(\d+) extraneous bytes before marker 0x(..)"
)
"""What libjpeg complains of when it makes pixels up, or found more than pixels take (its jerror.h)."""

SPARE = 16
"""Bytes before the end of a picture that may be left over: some cameras write a few behind each, and lose no pixel."""


def decode_plain(
    content: bytes, width: int, height: int, scale: int, channels: int, room: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG as it lies in the file.

    Args:
        content: the whole file.
        width: as its header says.
        height: as its header says.
        scale: 1, 2, 4 or 8: the part of the size that it is decoded to, by libjpeg's own scaling.
        channels: 3 for RGB, 1 for the brightness alone.
        room: uint8 [n], n large enough for the picture, to decode into; None takes new memory.

    Returns:
        uint8 [ceil(height / scale), ceil(width / scale), channels], or None where anything about the file is
        unusual: what to make of that is left to OpenCV, so that a picture means the same with and without this package.

    Raises:
        DataError: pixels are lost. OpenCV fills them with grey or moves what follows, and says so to nobody.
    """
    shape = -(-height // scale), -(-width // scale), channels
    try:
        # Its defaults are the accurate transform and the smooth upsampling of chroma, which OpenCV uses too.
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "GRAY" if channels == 1 else "RGB", min_height=shape[0], min_width=shape[1], buffer=room
        )
    except ValueError as error:
        lost = LOST.search(str(error))
        if lost is not None and not (lost[2] == "d9" and int(lost[1]) <= SPARE):
            raise DataError(f"damaged JPEG file: a part of the picture is lost ({lost[0]})") from error
        return None
    return image if image.shape == shape else None
