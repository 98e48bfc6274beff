"""JPEG of 12 bits and lossless JPEG, by libjpeg-turbo 3: the plugin that pydicom has no permissive decoder for.

pydicom's own choices for these syntaxes are under the GPL (pylibjpeg-libjpeg) or refuse 12 bits (gdcm).
"""

from typing import Any

import imagecodecs
from pydicom.pixels.decoders.base import (
    DecodeRunner,
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
)

from kdlight_edge.errors import DataError
from kdlight_edge.header import read_header

_DECODERS = (JPEGExtended12BitDecoder, JPEGLosslessDecoder, JPEGLosslessSV1Decoder)

DECODER_DEPENDENCIES = {decoder.UID: ("imagecodecs",) for decoder in _DECODERS}
"""Read by pydicom."""


def is_available(uid: str) -> bool:
    """Tell pydicom that the syntax is decoded here."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(content: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame to little-endian samples, colours beside one another, as pydicom asks its plugins to.

    Raises:
        DataError: truncated, or of another size than the object's header says.
    """
    header = read_header(content)
    if (header.width, header.height) != (runner.columns, runner.rows):
        raise DataError(f"the JPEG is {header.width}x{header.height} pixels where its header says otherwise")
    colour = runner.samples_per_pixel > 1
    # The same colour space in and out: converting to RGB is pydicom's part, and lossless values must stay as they are.
    space = "YCBCR" if colour else None
    values: Any = imagecodecs.jpeg8_decode(content, colorspace=space, outcolorspace=space)
    if colour:
        runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return bytes(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())


def register() -> None:
    """Make pydicom use it."""
    for decoder in _DECODERS:
        decoder.add_plugin("libjpeg-turbo", (__name__, decode_frame.__name__))
