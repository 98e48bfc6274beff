"""Encoded bytes to an upright RGB picture: the only decoder, for training and the runtime alike; and back to JPEG.

JPEG, PNG, BMP, TIFF and WebP; 8 and 16 bit; grey, palette, alpha; EXIF orientation. 16-bit pictures are scaled by
their full range (65535 is white), alpha is laid over white. A truncated file is an error even where the codec would
fill the rest with grey, and a picture is refused by its header when it would unpack to more than `MAX_PIXELS`.
"""

import functools
import importlib
import os
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.header import Header, read_header, upright_tiff
from kdlight_edge.strips import check_strips

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""File names that are pictures, in lower case."""

MAX_PIXELS = 180_000_000
"""Width times height above which a picture is refused: decoded it would take more than half a gigabyte."""

MAX_BYTES = 2 << 30
"""Of a file, above which it is refused unread: a picture of `MAX_PIXELS` is smaller, however it is packed."""

NOT_A_FILE = "not a file: it cannot be read like one"
"""Why a pipe, a device or a socket is no picture."""


# A damaged picture is reported once, by us, with its name. OpenCV 4 has the switch at one place and 5 at another.
_set_log_level: Any = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_set_log_level(0)


class Need(NamedTuple):
    """What a network needs of a JPEG, where nobody wants the picture itself; `prepare.need_of` tells it."""

    scale: Callable[[int, int], int]
    """Upright width and height to the scale, 1, 2, 4 or 8, that it may be decoded at."""
    colours: bool = True
    """Whether colours count. Where they do not, they are not even unpacked."""


_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

_GREY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@functools.cache
def _turbo() -> Any:
    """Return what decodes plain JPEG faster than OpenCV; None where an environment put together by hand lacks it."""
    try:
        return importlib.import_module("kdlight_edge.jpeg")
    except ImportError:
        return None


def read_picture(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read and decode a file; returns and raises as `decode`, and as `read_reduced` where it cannot be opened."""
    return read_reduced(path, None)[0]


def read_reduced(
    path: str | os.PathLike[str], need: Need | None
) -> tuple[npt.NDArray[np.uint8], tuple[int, int] | None]:
    """Read and decode a file; returns as `decode_reduced`.

    Raises:
        DataError: the file cannot be opened, is a pipe or device, has more than `MAX_BYTES`, or is not a whole picture;
            the message does not repeat the path.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}") from error
    return decode_reduced(content, need)


class ChangedError(DataError):
    """A file is not, or no longer, in the state in which it was to be read."""


def read_file(path: str | os.PathLike[str], state: tuple[int, int] | None = None) -> bytes:
    """Return a file's bytes, of most files by one call: `Path.read_bytes` takes a tenth of a small picture's time.

    Args:
        path: of the file.
        state: size in bytes and time of change in nanoseconds that it must have before and after it is read.

    Raises:
        OSError: it cannot be opened.
        ChangedError: it has another state, so that its bytes may be of two files.
        DataError: it is a pipe or device, or has more than `MAX_BYTES`.
    """
    # Of a pipe that nobody writes, opening alone would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # reading says of a folder what it is
            raise DataError(NOT_A_FILE)
        _hold(status, state)
        size = status.st_size
        if size > MAX_BYTES:
            raise DataError(f"{size:,} bytes are more than {MAX_BYTES:,}; refused unread")
        parts = [os.read(descriptor, size + 1)]
        if len(parts[0]) != size or not size:  # it grew, or tells no size
            done = len(parts[0])
            while parts[-1]:
                parts.append(os.read(descriptor, 1 << 16))
                done += len(parts[-1])
                if done > MAX_BYTES:
                    raise DataError(f"more than {MAX_BYTES:,} bytes; not read to its end")
        if state is not None:
            _hold(os.fstat(descriptor), state)
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _hold(status: os.stat_result, state: tuple[int, int] | None) -> None:
    if state is not None and (status.st_size, status.st_mtime_ns) != state:
        raise ChangedError("the file was changed before it was read to its end")


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an encoded picture.

    Returns:
        uint8 [h, w, 3], RGB, upright.

    Raises:
        DataError: empty, not a picture, truncated, or larger than `MAX_PIXELS`.
    """
    return decode_reduced(content, None)[0]


class Room:
    """Memory that one picture after the other is decoded into, as large as any of them needed."""

    def __init__(self) -> None:
        self._pixels = np.empty(0, np.uint8)

    def of(self, size: int) -> npt.NDArray[np.uint8]:
        """Return uint8 [size or more]."""
        if self._pixels.size < size:
            self._pixels = np.empty(size, np.uint8)
        return self._pixels


def decode_reduced(
    content: bytes, need: Need | None, room: Room | None = None
) -> tuple[npt.NDArray[np.uint8], tuple[int, int] | None]:
    """Decode an encoded picture, a JPEG perhaps at a part of its size and without colours; raises as `decode`.

    Args:
        content: the bytes of the file.
        need: what is needed of a JPEG; None for all of it.
        room: where the picture before it, which nobody looks at any more, may lie and be written over.

    Returns:
        uint8 [h, w, 3], RGB, upright; of a JPEG that has no colours, or whose are not needed, [h, w] unless ``need`` is
        None; and where it was decoded smaller, the width and height that it has.
    """
    header = read_header(content)
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{header.width}x{header.height} pixels are more than {MAX_PIXELS:,}; refused before unpacking; "
            "infer --tiles reads such a picture as a TIFF of strips or tiles"
        )
    if header.most is not None and header.width * header.height > header.most:
        # A header of two kilobytes may claim a gigabyte of pixels, which the codec would fill with grey.
        size = f"{header.width}x{header.height}"
        raise DataError(f"damaged {header.format} file: {len(content):,} bytes cannot hold {size} pixels")
    if header.format == "JPEG":
        scale = 1 if need is None else need.scale(*header.upright)
        grey = need is not None and (header.components == 1 or (header.plain and not need.colours))
        decoded = (_decode_grey if grey else _decode_jpeg)(content, header, scale, room)
        return decoded, None if scale == 1 else header.upright
    if header.format == "TIFF":
        check_strips(content)
    flags = cv2.IMREAD_UNCHANGED if header.alpha else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    turned = header.format == "TIFF" and header.orientation != 1
    decoded = _imdecode(upright_tiff(content) if turned else content, header, flags)
    image = _to_rgb8(~decoded if header.negative else decoded, premultiplied=header.premultiplied)
    # Asked for alpha, OpenCV leaves the picture as it lies in the file.
    return (_upright(image, header.orientation) if header.alpha or turned else image), None


def _decode_jpeg(content: bytes, header: Header, scale: int, room: Room | None) -> npt.NDArray[np.uint8]:
    """Decode to RGB, uint8 [h, w, 3]."""
    found = _decode_plain(content, header, scale, room, 3)
    if found is not None:
        return found
    if scale == 1:
        image: npt.NDArray[np.uint8] = _imdecode(content, header, cv2.IMREAD_COLOR_RGB)
        return image
    reduced: Any = cv2.cvtColor(_imdecode(content, header, _REDUCED[scale]), cv2.COLOR_BGR2RGB)
    return reduced  # type: ignore[no-any-return]


def _decode_grey(content: bytes, header: Header, scale: int, room: Room | None) -> npt.NDArray[np.uint8]:
    """Decode the brightness alone, uint8 [h, w]."""
    found = _decode_plain(content, header, scale, room, 1)
    if found is not None:
        return found[..., 0]
    image: npt.NDArray[np.uint8] = _imdecode(content, header, _GREY[scale])
    return image


def _decode_plain(
    content: bytes, header: Header, scale: int, room: Room | None, channels: int
) -> npt.NDArray[np.uint8] | None:
    """Return uint8 [h, w, channels] by the faster decoder; None where it is not there or leaves the file to OpenCV."""
    if not header.plain or (turbo := _turbo()) is None:
        return None
    width, height = header.width, header.height
    place = None if room is None else room.of(channels * -(-width // scale) * -(-height // scale))
    found: npt.NDArray[np.uint8] | None = turbo.decode_plain(content, width, height, scale, channels, place)
    if found is None or header.orientation == 1:
        return found
    return _upright(found, header.orientation)


def _imdecode(content: bytes, header: Header, flags: int) -> npt.NDArray[Any]:
    try:
        image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"damaged {header.format} file") from error
    if image is None or image.size == 0:
        raise DataError(f"damaged {header.format} file")
    return image  # type: ignore[no-any-return]


def _to_rgb8(image: npt.NDArray[Any], *, premultiplied: bool) -> npt.NDArray[Any]:
    """Bring cv2's picture (grey, BGR or BGRA; 8 or 16 bit, float TIFF) to RGB of 8 bits."""
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise DataError(f"pixels of type {image.dtype}; save the picture with 8 or 16 bits a channel")
    if image.ndim == 2:  # noqa: PLR2004 - no channel axis: grey
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    elif image.shape[2] == 4:  # noqa: PLR2004 - the fourth channel is alpha
        alpha = image[..., 3:].astype(np.uint16)
        if premultiplied:
            image = np.minimum(image[..., :3] + (255 - alpha), 255).astype(np.uint8)
        else:
            image = ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    else:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image)


def _upright(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undo an EXIF orientation (tag 0x0112): 5 to 8 swap the axes, then rows or columns may run backwards."""
    result: Any = cv2.transpose(image) if orientation >= 5 else image  # noqa: PLR2004 - see above
    down, across = orientation in {3, 4, 7, 8}, orientation in {2, 3, 6, 7}
    if down or across:
        result = cv2.flip(result, -1 if down and across else int(across))  # both, columns alone (1), rows alone (0)
    return np.ascontiguousarray(result)


def to_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encode a picture, uint8 [h, w, 3] RGB, as JPEG; ``quality`` is 1 to 100."""
    _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return content.tobytes()
