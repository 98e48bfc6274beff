"""The lists of pictures that a training leaves for the export: some to compare on, some to calibrate INT8 on."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdlight_edge.errors import DataError
from kdlight_train.checkpoint import RESUME
from kdlight_train.data import Split

KEPT = 256
"""About how many training pictures are listed: more give the same ranges."""

COMPARED = 2048
"""About how many validation pictures are listed where there are more: 99 % of a class cannot be shown on a few."""

RARE = 20
"""How many of a class are listed at least, where it has them: export fits a floor's threshold to no fewer.

Thinned like the others a rare class would be gone: INT8 would neither be calibrated on it nor judged by it."""

ODD_NAMES = "surrogateescape"
"""What becomes of bytes in a file's name that are no UTF-8: they stay, so that the file is found again."""

HELD_OUT, CALIBRATION = "held_out.csv", "calibration.csv"
"""Validation pictures to prove on, training pictures to calibrate on; never the one for the other."""


def keep_pictures(run: Path, val: Split, train: Split, labels: Sequence[str]) -> None:
    """Write RUN/held_out.csv (validation) and RUN/calibration.csv (training), columns ``file,label``."""
    _keep(run / HELD_OUT, val, labels, COMPARED)
    _keep(run / CALIBRATION, train, labels, KEPT)


def _keep(file: Path, split: Split, labels: Sequence[str], count: int) -> None:
    """List pictures of a split; names stay here and out of bundles."""
    pictures = [split.pictures[place] for place in thinned(split, count)]
    rows = [(picture.path.resolve(), labels[picture.label]) for picture in pictures if picture.path]
    try:
        with file.open("w", encoding="utf-8", errors=ODD_NAMES, newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["file", "label"])
            table.writerows(rows)
    except OSError as error:
        raise DataError(f"{file} could not be written ({error.strerror}); free some room and {RESUME}") from error


def thinned(split: Split, count: int = KEPT) -> list[int]:
    """Return about so many places evenly over a split, and evenly over each class that would have too few, rising."""
    chosen = set(range(0, len(split), max(1, len(split) // count)))
    for label in set(split.truth.tolist()):
        places = np.flatnonzero(split.truth == label).tolist()
        if len(chosen.intersection(places)) < min(RARE, len(places)):
            chosen = chosen.difference(places).union(places[:: max(1, len(places) // RARE)])
    return sorted(chosen)
