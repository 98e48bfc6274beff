"""The pictures that a training named for the export, as encoded bytes with their class."""

import csv
from pathlib import Path

HELD_OUT, CALIBRATION = "held_out.csv", "calibration.csv"
"""Validation pictures to prove on, training pictures to calibrate on; never the one for the other."""


def run_pictures(run: Path, name: str, labels: tuple[str, ...]) -> list[tuple[bytes, int]]:
    """Return the bytes and the class index of every picture in RUN/``name`` that is still where it was.

    The table has the columns ``file,label``. A run that was copied to a machine without the data has none.
    """
    table = run / name
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [(Path(row["file"]), row["label"]) for row in csv.DictReader(stream)]
    return [(file.read_bytes(), labels.index(label)) for file, label in rows if file.is_file()]
