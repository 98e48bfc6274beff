"""When and where a photograph was taken, as its camera noted it: EXIF time and GPS (CIPA DC-008, TIFF 6.0).

A picture without the note, or with a damaged one, is as good as any other: what is wrong is said, never raised.
"""

import datetime as dt
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

Content = bytes | memoryview | mmap.mmap

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}
"""Bytes of a value by the number of its type; only those that are read here."""

_ENTRIES = 1024
"""Entries of a directory at most: more are damage."""

_HEAD = 4 << 20
"""Bytes of a JPEG in which the note is looked for."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a picture's note tells; None for what it does not."""

    local: str | None = None
    """ISO 8601 by the camera's clock, with its offset from UTC where the camera noted one."""
    utc: str | None = None
    """ISO 8601, UTC: by the offset, else by GPS."""
    latitude: float | None = None
    """Degrees, WGS 84, north positive."""
    longitude: float | None = None
    """Degrees, WGS 84, east positive."""
    altitude: float | None = None
    """Metres above sea level."""
    note: str = ""
    """Why something that is there could not be used; empty where nothing is wrong."""


def read_taken(path: Path) -> Taken:
    """Read the note of a JPEG, PNG, TIFF or WebP file; never raises for what is in it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return taken_of(_block(content))
    except (OSError, ValueError):  # an empty file cannot be mapped; the decoder tells what is wrong with it
        return Taken()


def _block(content: mmap.mmap) -> Content:
    """Return the TIFF structure that holds the tags; empty where there is none."""
    if content[:4] in {b"II*\0", b"MM\0*"}:
        return content[:] if len(content) < _HEAD else content
    head = content[:_HEAD]
    if head[:2] == b"\xff\xd8":
        at = _app1(head)
        return head[at:] if at else b""
    if head[:4] == b"\x89PNG":
        return _part(content, ">I4s", 8, b"eXIf")
    return _part(content, "<4sI", 12, b"EXIF").removeprefix(b"Exif\0\0") if head[:4] == b"RIFF" else b""


def _part(content: mmap.mmap, head: str, position: int, wanted: bytes) -> bytes:
    """Return a part of a PNG (with a checksum behind each part) or WebP file (of even lengths), which may be the last.

    ``head`` is how the length and the name of a part are written, ``position`` where the first one begins; the result
    is empty where no part has the name.
    """
    while position + 8 <= len(content):
        first, second = struct.unpack_from(head, content, position)
        length, name = (first, second) if isinstance(first, int) else (second, first)
        if name == wanted:
            return content[position + 8 : position + 8 + length]
        if not name.strip().isalnum():  # damage, of which there may be gigabytes
            break
        position += 8 + length + (4 if head[0] == ">" else length % 2)
    return b""


def _app1(head: bytes) -> int:
    """Return where the tags of a JPEG begin; 0 for nowhere."""
    position = 2
    while position + 4 <= len(head) and head[position] == 0xFF:  # noqa: PLR2004 - the sign of a marker
        (length,) = struct.unpack_from(">H", head, position + 2)
        if head[position + 1] == 0xE1 and head[position + 4 : position + 10] == b"Exif\0\0":  # noqa: PLR2004 - APP1
            return position + 10
        if head[position + 1] == 0xDA:  # noqa: PLR2004 - the picture itself begins
            break
        position += 2 + length
    return 0


def taken_of(content: Content) -> Taken:
    """Read the tags of a TIFF structure."""
    if len(content) == 0:
        return Taken()
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(content[:2])]
        (first,) = struct.unpack_from(order + "I", content, 4)
        main = _directory(content, order, first)
        exif = _directory(content, order, _pointer(main, order, 0x8769))
        gps = _directory(content, order, _pointer(main, order, 0x8825))
    except (struct.error, KeyError, ValueError, IndexError):
        return Taken(note="EXIF cannot be read: it is damaged")
    local, utc, trouble = _times(exif, main, gps, order)
    place, lost = _place(gps, order)
    return Taken(local, utc, *place, note="; ".join(part for part in (trouble, lost) if part))


Tags = dict[int, tuple[int, bytes]]
"""Tag to the type of its value and the bytes."""


def _directory(content: Content, order: str, offset: int) -> Tags:
    found: Tags = {}
    if not offset:
        return found
    (count,) = struct.unpack_from(order + "H", content, offset)
    if count > _ENTRIES:
        raise ValueError(count)
    for entry in range(count):
        at = offset + 2 + 12 * entry
        tag, kind, number = struct.unpack_from(order + "HHI", content, at)
        size = _SIZES.get(kind, 0) * number
        if not 0 < size <= 1 << 16:
            continue  # a maker's own, or a thumbnail
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", content, at + 8)[0]  # noqa: PLR2004 - inline
        value = bytes(content[start : start + size])
        if len(value) == size:
            found[tag] = (kind, value)
    return found


def _pointer(tags: Tags, order: str, tag: int) -> int:
    kind, value = tags.get(tag, (4, b"\0\0\0\0"))
    return int(struct.unpack_from(order + ("H" if kind == 3 else "I"), value)[0])  # noqa: PLR2004 - 3 is a short


def _text(tags: Tags, tag: int) -> str:
    return tags.get(tag, (2, b""))[1].split(b"\0")[0].decode("ascii", "replace").strip()


def _rationals(tags: Tags, order: str, tag: int) -> list[float] | None:
    """Return the fractions of a tag; None where it is not there, not a fraction, or divides by zero."""
    kind, value = tags.get(tag, (0, b""))
    if kind not in {5, 10}:
        return None
    numbers = struct.unpack(f"{order}{len(value) // 4}{'I' if kind == 5 else 'i'}", value)  # noqa: PLR2004 - 5 unsigned
    if not all(numbers[1::2]):
        return None
    return [top / bottom for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)]


def _times(exif: Tags, main: Tags, gps: Tags, order: str) -> tuple[str | None, str | None, str]:
    noted = (_text(exif, 0x9003), _text(exif, 0x9004), _text(main, 0x0132))
    said = next((text for text in noted if text.strip(": 0")), "")  # a clock that was never set notes zeros or blanks
    moment, trouble = None, ""
    if said:
        try:
            moment = dt.datetime.strptime(said, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - cameras know no zone
        except ValueError:
            trouble = f"EXIF time {said[:24]!r} is none"
    offset = _text(exif, 0x9011) or _text(exif, 0x9010)
    if moment is not None and re.fullmatch(r"[+-]\d\d:\d\d", offset):
        try:
            aware = dt.datetime.fromisoformat(f"{moment.isoformat()}{offset}")
            return aware.isoformat(), _z(aware), trouble
        except (ValueError, OverflowError):  # an offset of a day or more; a moment outside of the years 1 to 9999
            trouble = f"EXIF time offset {offset!r} cannot be used with {said!r}"
    return (None if moment is None else moment.isoformat()), _gps_time(gps, order), trouble


def _gps_time(gps: Tags, order: str) -> str | None:
    date, clock = _text(gps, 0x001D), _rationals(gps, order, 0x0007)
    if clock is None or len(clock) != 3:  # noqa: PLR2004 - hours, minutes, seconds
        return None
    try:
        day = dt.datetime.strptime(date, "%Y:%m:%d").replace(tzinfo=dt.timezone.utc)
        return _z(day + dt.timedelta(hours=clock[0], minutes=clock[1], seconds=clock[2]))
    except (ValueError, OverflowError):
        return None


def _z(moment: dt.datetime) -> str:
    return moment.astimezone(dt.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


Place = tuple[float | None, float | None, float | None]


def _place(gps: Tags, order: str) -> tuple[Place, str]:
    """Return latitude, longitude and altitude, and why they cannot be used where they are there and cannot."""
    if not {0x0002, 0x0004} & gps.keys():
        return (None, None, None), ""
    latitude = _degrees(gps, order, 0x0002, {"N": 1, "S": -1}, 90)
    longitude = _degrees(gps, order, 0x0004, {"E": 1, "W": -1}, 180)
    if latitude is None or longitude is None:
        return (None, None, None), "EXIF place cannot be used: it is no latitude and longitude"
    if not latitude and not longitude:  # in the Gulf of Guinea, 600 km from land
        return (None, None, None), "EXIF place cannot be used: 0, 0 is what a receiver notes that has not found it"
    height = _rationals(gps, order, 0x0006)
    below = gps.get(0x0005, (1, b"\0"))[1][:1] == b"\1"
    return (latitude, longitude, None if height is None else round(-height[0] if below else height[0], 3)), ""


def _degrees(gps: Tags, order: str, tag: int, signs: dict[str, int], most: int) -> float | None:
    """Degrees, minutes and seconds with the hemisphere of the tag before; None unless all of it makes sense."""
    parts, sign = _rationals(gps, order, tag), signs.get(_text(gps, tag - 1).upper()[:1])
    if parts is None or sign is None or not 1 <= len(parts) <= 3:  # noqa: PLR2004 - some write whole degrees only
        return None
    value = sum(part / 60**power for power, part in enumerate(parts))
    return round(sign * value, 8) if 0 <= value <= most else None
