"""Notes of cameras are found wherever they stand, and a time that no calendar has costs a picture its time only."""

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from kdlight_edge.survey.exif import Taken, read_taken, taken_of
from tests.edge.photographs import exif, save

BLACK = np.zeros((8, 8, 3), np.uint8)


def photograph(path: Path, moment: str, offset: str, image: npt.NDArray[np.uint8] = BLACK) -> Path:
    def fraction(value: int) -> TiffImagePlugin.IFDRational:
        return TiffImagePlugin.IFDRational(value, 1)

    note = Image.Exif()
    note.get_ifd(ExifTags.IFD.Exif).update({0x9003: moment, 0x9011: offset})
    note.get_ifd(ExifTags.IFD.GPSInfo).update({
        1: "N", 2: (fraction(47), fraction(30), fraction(0)), 3: "E", 4: (fraction(8), fraction(15), fraction(0)),
    })  # fmt: skip
    Image.fromarray(image).save(path, exif=note.tobytes(), lossless=True)
    return path


@pytest.mark.parametrize(
    ("moment", "offset", "local"),
    [
        ("2026:05:04 14:30:00", "+99:99", "2026-05-04T14:30:00"),
        ("2026:05:04 14:30:00", "+24:00", "2026-05-04T14:30:00"),
        ("0001:01:01 00:00:00", "+05:00", "0001-01-01T00:00:00"),
        ("9999:12:31 23:59:59", "-05:00", "9999-12-31T23:59:59"),
    ],
)
def test_an_offset_that_no_clock_has_is_told_and_the_place_is_kept(
    moment: str, offset: str, local: str, tmp_path: Path
) -> None:
    taken = read_taken(photograph(tmp_path / "a.jpg", moment, offset))
    assert (taken.latitude, taken.longitude) == (47.5, 8.25)
    assert (taken.local, taken.utc) == (local, None)
    assert taken.note == f"EXIF time offset {offset!r} cannot be used with {moment!r}"


@pytest.mark.parametrize("blank", ["0000:00:00 00:00:00", "    :  :     :  :  "])
def test_a_time_of_zeros_or_blanks_does_not_hide_the_one_that_was_noted(blank: str, tmp_path: Path) -> None:
    note = Image.Exif()
    note.get_ifd(ExifTags.IFD.Exif).update({0x9003: blank, 0x9004: blank})
    Image.fromarray(BLACK).save(tmp_path / "a.jpg", exif=note.tobytes())
    assert (read_taken(tmp_path / "a.jpg").local, read_taken(tmp_path / "a.jpg").note) == (None, "")
    note[0x0132] = "2026:05:04 14:30:00"
    Image.fromarray(BLACK).save(tmp_path / "a.jpg", exif=note.tobytes())
    assert read_taken(tmp_path / "a.jpg").local == "2026-05-04T14:30:00"


def test_the_note_is_found_at_the_end_of_a_large_webp_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)
    path = photograph(tmp_path / "a.webp", "2026:05:04 14:30:00", "+02:00", noise)
    assert path.stat().st_size > 4 << 20
    taken = read_taken(path)
    assert (taken.utc, taken.latitude, taken.note) == ("2026-05-04T12:30:00Z", 47.5, "")


def test_the_note_is_found_behind_the_pixels_of_a_png_and_not_in_them(tmp_path: Path) -> None:
    content = photograph(tmp_path / "a.png", "2026:05:04 14:30:00", "+02:00").read_bytes()
    at = content.index(b"eXIf") - 4
    (length,) = struct.unpack_from(">I", content, at)
    note, rest = content[at : at + 12 + length], content[:at] + content[at + 12 + length :]
    body = b"a comment: eXIfII*"
    comment = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    (tmp_path / "a.png").write_bytes(rest[:33] + comment + rest[33:-12] + note + rest[-12:])
    taken = read_taken(tmp_path / "a.png")
    assert (taken.utc, taken.latitude, taken.note) == ("2026-05-04T12:30:00Z", 47.5, "")


@pytest.mark.parametrize(
    ("sign", "east", "place"), [("N", "E", (47.51, 8.25)), ("S", "E", (-47.51, 8.25)), ("S", "W", (-47.51, -8.25))]
)
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_time_and_place_of_a_camera_are_read(
    ending: str, sign: str, east: str, place: tuple[float, float], tmp_path: Path
) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    taken = read_taken(save(tmp_path / f"a{ending}", image, exif(sign, east)))
    assert (taken.latitude, taken.longitude, taken.altitude) == (*place, 432.1)
    assert (taken.local, taken.utc, taken.note) == ("2026-05-04T14:30:00", "2026-05-04T12:30:01Z", "")


def test_the_offset_of_a_clock_and_a_place_below_the_sea_are_understood(tmp_path: Path) -> None:
    note = exif(exif={0x9011: "+02:00"}, gps={5: b"\1"})
    taken = read_taken(save(tmp_path / "a.jpg", np.zeros((8, 8, 3), np.uint8), note))
    assert (taken.local, taken.utc) == ("2026-05-04T14:30:00+02:00", "2026-05-04T12:30:00Z")
    assert taken.altitude == -432.1


def test_a_picture_without_a_note_has_none_and_a_broken_one_is_told(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert read_taken(save(tmp_path / "a.jpg", image)) == Taken()
    zero = TiffImagePlugin.IFDRational(0, 0)
    broken = read_taken(save(tmp_path / "b.jpg", image, exif(gps={2: (zero, zero, zero)}, exif={0x9003: "yesterday"})))
    assert (broken.latitude, broken.local) == (None, None)
    assert "place" in broken.note
    assert "time" in broken.note
    (tmp_path / "empty.jpg").touch()
    assert read_taken(tmp_path / "empty.jpg") == Taken()


def test_the_place_of_a_receiver_that_has_not_found_it_is_none(tmp_path: Path) -> None:
    zero = (TiffImagePlugin.IFDRational(0, 1),) * 3
    taken = read_taken(save(tmp_path / "a.jpg", np.zeros((8, 8, 3), np.uint8), exif(gps={2: zero, 4: zero})))
    assert (taken.latitude, taken.longitude, taken.altitude) == (None, None, None)
    assert taken.note == "EXIF place cannot be used: 0, 0 is what a receiver notes that has not found it"
    greenwich = read_taken(save(tmp_path / "b.jpg", np.zeros((8, 8, 3), np.uint8), exif(gps={4: zero})))
    assert (greenwich.latitude, greenwich.longitude, greenwich.note) == (47.51, 0.0, "")


def test_no_note_whatever_its_bytes_stops_an_inspection() -> None:
    rng = np.random.default_rng(2)
    whole = exif().tobytes()[6:]
    assert taken_of(whole).latitude == 47.51
    for _ in range(3000):
        damaged = bytearray(whole[: rng.integers(0, len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, max(1, len(damaged)), 6 if damaged else 0):
            damaged[at] = rng.integers(0, 256)
        found = taken_of(bytes(damaged))
        assert found.latitude is None or -90 <= found.latitude <= 90
