"""The pictures that a training names for the export: evenly over a split, with their class."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_train import training
from kdlight_train.finished import require
from kdlight_train.kept import KEPT, _keep, keep_pictures
from kdlight_train.pictures import Picture, Split

LABELS = ("crack", "no_crack")


def split_of(count: int, folder: Path) -> Split:
    """Return a split of files that need not be there, half of them cracks, as the pool of a training is ordered."""
    return Split(
        tuple(Picture(folder / f"{i}.png", None, 2 * i // count, str(i), str(i), str(i), (8, 8)) for i in range(count))
    )


def test_a_large_split_is_listed_evenly_and_keeps_every_class(tmp_path: Path) -> None:
    file = tmp_path / "calibration.csv"
    _keep(file, split_of(10 * KEPT, tmp_path), LABELS, KEPT)
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == KEPT
    assert [row["label"] for row in rows] == ["crack"] * (KEPT // 2) + ["no_crack"] * (KEPT // 2)
    assert rows[1]["file"] == str(tmp_path.resolve() / "10.png")


@pytest.mark.parametrize(("rare", "listed"), [(3, 3), (40, 20)])
def test_a_rare_class_of_a_large_split_is_listed_too(tmp_path: Path, rare: int, listed: int) -> None:
    usual = split_of(10 * KEPT, tmp_path).pictures
    few = tuple(Picture(tmp_path / f"rare{i}.png", None, 2, "", "", "", (8, 8)) for i in range(rare))
    _keep(tmp_path / "held_out.csv", Split((*usual, *few)), (*LABELS, "rare"), KEPT)
    with (tmp_path / "held_out.csv").open(newline="") as stream:
        counts = Counter(row["label"] for row in csv.DictReader(stream))
    assert counts == {"crack": KEPT // 2, "no_crack": KEPT // 2, "rare": listed}


def test_a_list_that_cannot_be_written_is_told_with_what_goes_on(tmp_path: Path) -> None:
    (tmp_path / "held_out.csv").mkdir()
    with pytest.raises(
        DataError, match=r"held_out.csv could not be written \(Is a directory\); .* go on with --resume"
    ):
        _keep(tmp_path / "held_out.csv", split_of(12, tmp_path), LABELS, KEPT)


def test_a_training_whose_lists_could_not_be_written_has_not_ended(
    tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DataError("held_out.csv could not be written")

    monkeypatch.setattr(training, "keep_pictures", full)
    make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    with torch.random.fork_rng():
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "teacher.pth")
    words = [
        "train", "--data", tmp_path / "data", "--out", tmp_path / "run", "--cache", tmp_path, "--method", "none",
        "--teacher", "mobilenet_v3_small", "--teacher-weights", tmp_path / "teacher.pth", "--teacher-imgsz", 32,
        "--teacher-epochs", 1, "--student", "nano", "--imgsz", 32, "--epochs", 1, "--device", "cpu",
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 1
    with pytest.raises(DataError, match="the training has not ended; finish it with train --resume"):
        require(tmp_path / "run")


def test_a_small_split_is_listed_whole(tmp_path: Path) -> None:
    file = tmp_path / "held_out.csv"
    _keep(file, split_of(12, tmp_path), LABELS, KEPT)
    assert len(file.read_text().splitlines()) == 13


def test_more_validation_pictures_are_compared_than_training_pictures_are_calibrated_on(tmp_path: Path) -> None:
    split = split_of(3000, tmp_path)
    keep_pictures(tmp_path, split, split, LABELS)
    counts = [len((tmp_path / name).read_text().splitlines()) - 1 for name in ("held_out.csv", "calibration.csv")]
    assert counts == [3000, 273]


def test_a_picture_that_does_not_decode_is_in_no_list_and_moves_no_name(
    tmp_path: Path, make: Callable[..., Path], spoil: Callable[[Path], None]
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for place, part in enumerate(("train", "val", "test")):
        make(data, {f"{part}/crack": 12, f"{part}/none": 12}, seed=10_000 * place)
        for file in (data / part).rglob("*.png"):  # whose names then tell their class
            file.rename(file.with_name(f"{file.parent.name}{file.name}"))
        for number in range(6):
            spoil(data / part / "crack" / f"crack{number:03}.png")
    with torch.random.fork_rng():
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "teacher.pth")
    words = [
        "train", "--data", data, "--out", run, "--cache", tmp_path, "--teacher", "mobilenet_v3_small", "--method",
        "none", "--student", "nano", "--imgsz", 32, "--teacher-imgsz", 32, "--epochs", 1, "--teacher-epochs", 1,
        "--teacher-weights", tmp_path / "teacher.pth", "--device", "cpu",
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    for name in ("held_out.csv", "calibration.csv"):
        listed = [Path(line.split(",")[0]).name for line in (run / name).read_text().splitlines()[1:]]
        assert sorted(listed) == [f"crack{number:03}.png" for number in range(6, 12)] + [
            f"none{number:03}.png" for number in range(12)
        ]
    mistakes = json.loads((run / "report.json").read_text())["mistakes"]
    assert mistakes
    assert all(one["name"].startswith(one["truth"]) for one in mistakes)
