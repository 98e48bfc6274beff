"""The pictures that a training named for the export, as the network sees them, with their class."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_edge.picture import read_picture
from kdlight_edge.prepare import prepare_input
from kdlight_train.kept import ODD_NAMES

Say = Callable[[str], None]


def run_pictures(
    run: Path, name: str, labels: tuple[str, ...], spec: Input, say: Say
) -> list[tuple[npt.NDArray[np.uint8], int]]:
    """Return every picture in RUN/``name`` that is still where it was, uint8 [H, W, 3], and the index of its class.

    The table has the columns ``file,label``. A run that was copied to a machine without the data has no picture.

    Args:
        run: folder of the training.
        name: of the table.
        labels: names of the classes.
        spec: the network's input.
        say: is told, a line each, what can no longer be read and is left out, and in one line what is gone.

    Raises:
        DataError: the table cannot be read, or names a class that the student does not know.
    """
    table = run / name
    if not table.is_file():
        return []
    pictures = []
    rows = _rows(table, labels)
    gone = [file for file, _ in rows if not file.is_file()]
    if gone:
        say(f"left out of {name}, no longer there: {len(gone)} of {len(rows)} pictures, the first {gone[0]}")
    for file, label in rows:
        if not file.is_file():
            continue
        try:
            pictures.append((prepare_input(read_picture(file), spec), labels.index(label)))
        except DataError as error:
            say(f"left out of {name}, unreadable: {file}: {error}")
    return pictures


def _rows(table: Path, labels: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Read a table, which a person may have edited, or a full disk cut off."""
    try:
        with table.open(encoding="utf-8", errors=ODD_NAMES, newline="") as stream:
            rows = [(row["file"], row["label"]) for row in csv.DictReader(stream)]
    except (OSError, KeyError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it needs the columns file,label"
        again = "without its report.html, train --resume writes it anew"
        raise DataError(f"{table} cannot be read ({reason}); {again}") from error
    for file, label in rows:
        if not file or label not in labels:
            raise DataError(f"{table} gives {file} the class {label}; the student knows {', '.join(labels)}")
    return [(Path(file), label) for file, label in rows]
