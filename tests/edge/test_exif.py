"""What a camera's clock may have noted: times that no calendar has cost a picture its time, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from kdlight_edge.survey.exif import read_taken


def photograph(path: Path, moment: str, offset: str) -> Path:
    def fraction(value: int) -> TiffImagePlugin.IFDRational:
        return TiffImagePlugin.IFDRational(value, 1)

    note = Image.Exif()
    note.get_ifd(ExifTags.IFD.Exif).update({0x9003: moment, 0x9011: offset})
    note.get_ifd(ExifTags.IFD.GPSInfo).update({
        1: "N", 2: (fraction(47), fraction(30), fraction(0)), 3: "E", 4: (fraction(8), fraction(15), fraction(0)),
    })  # fmt: skip
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, exif=note.tobytes())
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
