"""What an encoded picture says of itself: format, size, orientation, and whether its end is there."""

import dataclasses
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kdlight_edge.errors import DataError

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_START_OF_SCAN, _APP1, _EXIF = 0xDA, 0xE1, b"Exif\0\0"

JPEG_PIXELS = 512
"""Pixels that a byte of a JPEG can hold at most: each block of 8x8 takes one bit or more (ITU-T T.81, F.1.2 and G.1.2),
unless it is coded arithmetically."""

TIFF_READ = frozenset({1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946})
"""Compressions of TIFF that every OpenCV unpacks: of those that it does not know at all it makes a black picture."""

TIFF_RATIO = {1: 2, 5: 1400, 8: 1100, 32946: 1100, 32773: 64}
"""How much smaller than its pixels a TIFF may be, by its compression (none with some slack, LZW, deflate, PackBits)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before anything is unpacked."""

    format: str
    width: int
    height: int
    alpha: bool = False
    """Whether a fourth channel or a transparent colour may be there."""
    premultiplied: bool = False
    """Whether OpenCV gives colours that were multiplied by alpha already."""
    negative: bool = False
    """Whether OpenCV gives white as zero."""
    orientation: int = 1
    """EXIF orientation, 1 to 8. OpenCV turns a JPEG upright itself."""
    components: int = 0
    """Of a JPEG: 1 is grey, 3 mostly brightness and two differences of colour."""
    most: int | None = None
    """Pixels that a file of this length can hold at most; None where its compression does not say."""

    @property
    def plain(self) -> bool:
        """Whether it is a JPEG of one or three components."""
        return self.components in {1, 3}

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once it is turned."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)  # noqa: PLR2004 - the axes change places


def read_header(content: bytes) -> Header:
    """Tell format and size from the first bytes, and that the end of the file is there.

    Raises:
        DataError: empty, not one of the formats, or cut off.
    """
    if not content:
        raise DataError("empty file (0 bytes)")
    try:
        if content.startswith(_SOI):
            return _jpeg(content)
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(content)
        if content.startswith(b"BM"):
            return _bmp(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp(content)
        if content[:4] in {b"II*\0", b"MM\0*"}:
            return _tiff(content)
        if content[:4] in {b"II+\0", b"MM\0+"}:
            raise DataError("a BigTIFF, which only --tiles reads; save it as a TIFF")
    except (struct.error, IndexError) as error:
        raise DataError("truncated file: its header is cut off") from error
    raise DataError("not a picture: the content is not JPEG, PNG, BMP, TIFF or WebP")


def _jpeg(content: bytes) -> Header:
    """Walk the segments (ITU-T T.81, annex B) to the frame header and look for the end-of-image marker.

    libjpeg fills a cut-off scan with grey and reports success, so the marker is the only proof of a whole file; it is
    searched behind the scan because an embedded thumbnail carries a marker of its own.
    """
    position, header, orientation = 2, None, 1
    while True:
        position = content.find(b"\xff", position)
        if position < 0:
            raise DataError("truncated JPEG file: the end of the picture is missing")
        while content[position] == 0xFF:  # noqa: PLR2004 - fill bytes before a marker
            position += 1
        marker = content[position]
        (length,) = struct.unpack_from(">H", content, position + 1)
        if marker in _START_OF_FRAME:
            height, width, components = struct.unpack_from(">HHB", content, position + 4)
            most = None if marker in _ARITHMETIC else len(content) * JPEG_PIXELS
            header = Header("JPEG", width, height, components=components, most=most)
        if marker == _APP1 and content.startswith(_EXIF, position + 3):
            orientation = max(orientation, _orientation(content[position + 3 + len(_EXIF) : position + 1 + length]))
        if marker == _START_OF_SCAN:
            break
        position += 1 + length
    if header is None or content.rfind(_EOI, position) < 0:
        raise DataError("truncated JPEG file: the end of the picture is missing")
    return header if orientation == 1 else dataclasses.replace(header, orientation=orientation)


def _png(content: bytes) -> Header:
    """Walk the chunks (PNG specification, section 5) and their checksums: libpng would print its own complaints."""
    width, height, colour, seen, orientation = 0, 0, 0, set(), 1
    for kind, data in _png_chunks(content):
        seen.add(kind)
        if kind == b"IHDR":
            width, height, _depth, colour = struct.unpack_from(">IIBB", data)
        elif kind == b"eXIf":
            orientation = _orientation(data)
    if not width or not height:
        raise DataError("damaged PNG file: its size is zero")
    return Header("PNG", width, height, alpha=colour in {4, 6} or b"tRNS" in seen, orientation=orientation)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, position = memoryview(content), 8
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise DataError(f"damaged PNG file: the checksum of its part {kind.decode('latin-1')} is wrong")
        yield kind, view[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise DataError("truncated PNG file: the end of the picture is missing")


def _bmp(content: bytes) -> Header:
    """Read the information header, of which the first edition has 12 bytes and sizes of 16 bits."""
    first_edition = struct.unpack_from("<I", content, 14)[0] == 12  # noqa: PLR2004
    width, height = struct.unpack_from("<HH" if first_edition else "<ii", content, 18)
    (depth,) = struct.unpack_from("<H", content, 24 if first_edition else 28)
    return Header("BMP", abs(width), abs(height), alpha=depth == 32)  # noqa: PLR2004 - the fourth byte may be alpha


def _webp(content: bytes) -> Header:
    (length,) = struct.unpack_from("<I", content, 4)
    if len(content) < length + 8:
        raise DataError("truncated WebP file: the end of the picture is missing")
    kind = content[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        height = int.from_bytes(content[27:30], "little") + 1
        orientation = _orientation(_webp_exif(content))
        return Header("WebP", width, height, alpha=bool(content[20] & 0x10), orientation=orientation)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", content, 26)
    return Header("WebP", width & 0x3FFF, height & 0x3FFF)


def _webp_exif(content: bytes) -> bytes:
    """Return the EXIF part of an extended WebP file, empty where there is none (RFC 9649, section 2.7)."""
    position = 12
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        if kind == b"EXIF":
            return content[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0")
        position += 8 + length + length % 2
    return b""


def _tiff(content: bytes) -> Header:
    tags = _tags(content, {256: 0, 257: 0, 258: 1, 259: 1, 262: 1, 274: 1, 277: 1, 284: 1, 322: 0, 338: -1})
    bits, samples, extra = tags[258], tags[277], tags[338]
    _check_tiff(tags)
    ratio = TIFF_RATIO.get(tags[259])
    most = len(content) * 8 * ratio // max(bits * samples, 1) if ratio else None
    alpha = samples == 4 and tags[262] == 2 and extra in {1, 2, -1}  # noqa: PLR2004 - RGB and one more
    # libtiff multiplies RGB of 8 bits by alpha where the file does not, and takes one without a name for multiplied.
    premultiplied = alpha and (bits == 8 or extra == 1)  # noqa: PLR2004
    negative = tags[262] == 0 and bits > 8  # noqa: PLR2004 - up to there OpenCV turns it itself
    return Header("TIFF", tags[256], tags[257], alpha, premultiplied, negative, _valid(tags[274]), most=most)


def _check_tiff(tags: dict[int, int]) -> None:
    """Refuse what OpenCV would read wrongly without a word."""
    said = ""
    if tags[259] not in TIFF_READ:
        said = f"of compression {tags[259]}"
    elif tags[277] > 4:  # noqa: PLR2004 - RGB and one more
        said = f"of {tags[277]} samples a pixel"
    elif tags[277] == 2 and tags[322]:  # noqa: PLR2004 - grey and transparency
        said = "of two samples a pixel in tiles"
    elif tags[284] == 2 and tags[277] > 1 and tags[258] > 8:  # noqa: PLR2004 - each colour in strips of its own
        said = f"of {tags[258]} bits in separate planes"
    elif tags[262] in {0, 1} and 1 < tags[258] < 8:  # noqa: PLR2004 - grey of fewer than eight bits
        said = f"of {tags[258]} bits a pixel"
    if said:
        raise DataError(f"a TIFF {said}, which is not unpacked here; save it as plain RGB with LZW or deflate")


def upright_tiff(content: bytes) -> bytes:
    """Return a TIFF that says of itself that it lies upright: of tiles and of alpha OpenCV turns wrongly."""
    order = "<" if content[:2] == b"II" else ">"
    for tag, kind, _, position in _entries(content):
        if tag == 274:  # noqa: PLR2004
            changed = bytearray(content)
            struct.pack_into(order + ("H" if kind == 3 else "I"), changed, position, 1)  # noqa: PLR2004
            return bytes(changed)
    return content


def tiff_tags(content: bytes) -> dict[int, tuple[int, ...]]:
    """Return the whole numbers (shorts and longs) of each tag of a TIFF's first directory.

    Raises:
        DataError: they lie behind the end of the file.
    """
    order = "<" if content[:2] == b"II" else ">"
    try:
        return {
            tag: struct.unpack_from(f"{order}{number}{'H' if kind == 3 else 'I'}", content, position)  # noqa: PLR2004
            for tag, kind, number, position in _entries(content)
            if kind in {3, 4}
        }
    except struct.error as error:
        raise DataError("truncated TIFF file: what describes its picture is cut off") from error


def _orientation(exif: bytes | memoryview) -> int:
    """Return the orientation of an EXIF block, 1 where it has none or is damaged: a note, not the picture."""
    try:
        return _valid(_tags(exif, {274: 1})[274])
    except struct.error:
        return 1


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1  # noqa: PLR2004 - the eight of EXIF


def _tags(content: bytes | memoryview, found: dict[int, int]) -> dict[int, int]:
    """Read whole-number tags of the first directory (TIFF 6.0, section 2) over the defaults in ``found``.

    Of a tag of several numbers it is the first.
    """
    order = "<" if content[:2] == b"II" else ">"
    for tag, kind, _, position in _entries(content):
        if tag in found:
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), content, position)  # noqa: PLR2004
    return found


def _entries(content: bytes | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, count and the place of the value of each entry of the first directory."""
    order = "<" if content[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, offset)
    for entry in range(count):
        at = offset + 2 + 12 * entry
        tag, kind, number, value = struct.unpack_from(order + "HHII", content, at)
        inline = kind not in {3, 4} or number * (2 if kind == 3 else 4) <= 4  # noqa: PLR2004 - shorts and longs
        yield tag, kind, number, at + 8 if inline else value
