"""The pictures that a training names for the export: evenly over a split, with their class."""

import csv
from pathlib import Path

from kdlight_train.kept import KEPT, _keep
from kdlight_train.pictures import Picture, Split

LABELS = ("crack", "no_crack")


def split_of(count: int, folder: Path) -> Split:
    """Return a split of files that need not be there, half of them cracks, as the pool of a training is ordered."""
    return Split(
        tuple(Picture(folder / f"{i}.png", None, 2 * i // count, str(i), str(i), str(i), (8, 8)) for i in range(count))
    )


def test_a_large_split_is_listed_evenly_and_keeps_every_class(tmp_path: Path) -> None:
    file = tmp_path / "calibration.csv"
    _keep(file, split_of(10 * KEPT, tmp_path), LABELS)
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == KEPT
    assert [row["label"] for row in rows] == ["crack"] * (KEPT // 2) + ["no_crack"] * (KEPT // 2)
    assert rows[1]["file"] == str(tmp_path.resolve() / "10.png")


def test_a_small_split_is_listed_whole(tmp_path: Path) -> None:
    file = tmp_path / "held_out.csv"
    _keep(file, split_of(12, tmp_path), LABELS)
    assert len(file.read_text().splitlines()) == 13
