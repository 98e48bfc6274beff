"""JPEG by libjpeg-turbo without OpenCV around it, the same pixels in less time; optional (``kdlight-edge[turbo]``)."""

import numpy as np
import numpy.typing as npt
import simplejpeg


def decode_plain(
    content: bytes, width: int, height: int, scale: int, room: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG that needs no turning.

    Args:
        content: the whole file.
        width: as its header says.
        height: as its header says.
        scale: 1, 2, 4 or 8: the part of the size that it is decoded to, by libjpeg's own scaling.
        room: uint8 [n], n large enough for the picture, to decode into; None takes new memory.

    Returns:
        uint8 [ceil(height / scale), ceil(width / scale), 3] RGB, or None where anything about the file is unusual: what
        to make of that is left to OpenCV, so that a picture means the same with and without this package.
    """
    try:
        # Its defaults are the accurate transform and the smooth upsampling of chroma, which OpenCV uses too.
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "RGB", min_height=-(-height // scale), min_width=-(-width // scale), buffer=room
        )
    except ValueError:
        return None
    return image if image.shape == (-(-height // scale), -(-width // scale), 3) else None
