"""The lists of pictures that a training leaves for the export: some to compare on, some to calibrate INT8 on."""

import csv
from collections.abc import Sequence
from pathlib import Path

from kdlight_train.data import Split

KEPT = 256
"""About how many training pictures are listed: more give the same ranges."""

COMPARED = 2048
"""About how many validation pictures are listed at least where there are more: 99 % of a rare class can be shown on
many alone."""

ODD_NAMES = "surrogateescape"
"""What becomes of bytes in a file's name that are no UTF-8: they stay, so that the file is found again."""

LISTS = ("held_out.csv", "calibration.csv")
"""Of validation pictures, and of training pictures."""


def keep_pictures(run: Path, val: Split, train: Split, labels: Sequence[str]) -> None:
    """Write RUN/held_out.csv (validation) and RUN/calibration.csv (training), columns ``file,label``."""
    for name, split, count in zip(LISTS, (val, train), (COMPARED, KEPT), strict=True):
        _keep(run / name, split, labels, count)


def _keep(file: Path, split: Split, labels: Sequence[str], count: int) -> None:
    """List pictures of a split, evenly over it; names stay here and out of bundles."""
    pictures = split.pictures[:: max(1, len(split) // count)]
    with file.open("w", encoding="utf-8", errors=ODD_NAMES, newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "label"])
        table.writerows([picture.path.resolve(), labels[picture.label]] for picture in pictures if picture.path)
