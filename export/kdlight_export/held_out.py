"""The pictures that a training kept apart for proofs, as encoded bytes with their class."""

import csv
from pathlib import Path

FILE = "held_out.csv"
"""Written by the training into RUN: columns ``file,label``."""


def held_out_files(run: Path, labels: tuple[str, ...]) -> list[tuple[bytes, int]]:
    """Return the bytes and the class index of every held-out picture that is still where it was.

    A run that was copied to a machine without the data has none; the procedural pictures are then the only proof.
    """
    table = run / FILE
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [(Path(row["file"]), row["label"]) for row in csv.DictReader(stream)]
    return [(file.read_bytes(), labels.index(label)) for file, label in rows if file.is_file()]
