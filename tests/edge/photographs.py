"""Photographs with what a camera notes in them: when and where they were taken."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin

Pixels = npt.NDArray[np.uint8]


def exif(sign: str = "N", east: str = "E", **more: Any) -> Image.Exif:
    """Return the note of a camera with a clock, a place and the time of GPS."""

    def fraction(value: int, below: int = 1) -> TiffImagePlugin.IFDRational:
        return TiffImagePlugin.IFDRational(value, below)

    note = Image.Exif()
    note.get_ifd(ExifTags.IFD.Exif).update({0x9003: "2026:05:04 14:30:00", **more.get("exif", {})})
    note.get_ifd(ExifTags.IFD.GPSInfo).update({
        1: sign, 2: (fraction(47), fraction(30), fraction(3600, 100)), 3: east,
        4: (fraction(8), fraction(15), fraction(0)), 5: b"\0", 6: fraction(4321, 10),
        7: (fraction(12), fraction(30), fraction(1)), 29: "2026:05:04", **more.get("gps", {}),
    })  # fmt: skip
    return note


def save(path: Path, image: Pixels, note: Image.Exif | None = None) -> Path:
    """Write a picture with the note of its camera."""
    more: dict[str, Any] = {} if note is None else {"exif": note.tobytes()}
    Image.fromarray(image).save(path, quality=92, **more)
    return path
