"""JPEG by libjpeg-turbo without OpenCV around it, the same pixels in less time; optional (``kdlight-edge[turbo]``)."""

import numpy as np
import numpy.typing as npt
import simplejpeg


def decode_plain(
    content: bytes, width: int, height: int, scale: int, channels: int, room: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG that needs no turning.

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
    """
    shape = -(-height // scale), -(-width // scale), channels
    try:
        # Its defaults are the accurate transform and the smooth upsampling of chroma, which OpenCV uses too.
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "GRAY" if channels == 1 else "RGB", min_height=shape[0], min_width=shape[1], buffer=room
        )
    except ValueError:
        return None
    return image if image.shape == shape else None
