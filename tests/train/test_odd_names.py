"""Names that are no UTF-8, as old archives and cameras leave them: pictures may have them, classes may not."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_export.run_pictures import run_pictures
from kdlight_train import finished
from kdlight_train.data import open_data
from kdlight_train.foreign import read_foreign, told
from kdlight_train.kept import CALIBRATION, HELD_OUT

Make = Callable[..., Path]
SPEC = Input(32, 32, "rgb", "squash", "reduce")


def rename(path: Path, name: bytes) -> Path:
    """Rename a file or a folder to bytes that need not be UTF-8."""
    new = Path(os.fsdecode(os.fsencode(path.parent) + b"/" + name))
    path.rename(new)
    return new


@pytest.fixture
def pictures(tmp_path: Path, make: Make) -> Path:
    """Return a data folder none of whose pictures has a name in UTF-8."""
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    for number, file in enumerate(sorted(data.rglob("*.png"))):
        rename(file, b"\xfc%d.png" % (number % 12))
    return data


def test_a_training_and_its_export_take_pictures_whose_names_are_no_utf_8(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with torch.random.fork_rng():
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "teacher.pth")
    words = [
        "train", "--data", pictures, "--out", run, "--cache", tmp_path, "--teacher", "mobilenet_v3_small", "--student",
        "nano", "--imgsz", 32, "--teacher-imgsz", 32, "--epochs", 1, "--teacher-epochs", 1, "--device", "cpu",
        "--teacher-weights", tmp_path / "teacher.pth", "--group-regex", "^(.+)[.]png$",
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    labels = finished.load(run).labels
    seen = [run_pictures(run, name, labels, SPEC, print) for name in (HELD_OUT, CALIBRATION)]
    assert sum(map(len, seen)) == 24
    wrong = [one["name"] for one in json.loads((run / "report.json").read_text())["mistakes"]]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert wrong
    assert all(f">{name.encode('utf-8', 'backslashreplace').decode()}<" in page for name in wrong)


def test_a_class_whose_name_is_no_utf_8_is_refused(tmp_path: Path, make: Make) -> None:
    rename(make(tmp_path / "data", {"a": 5, "b": 5}) / "b", b"ri\xdf")
    with pytest.raises(DataError, match=r"class folder '.*/data/ri\\udcdf' has a name that is not UTF-8; rename it"):
        open_data([tmp_path / "data"])


def test_the_check_of_data_spells_what_the_terminal_has_not(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = (next((pictures / "train" / label).glob("*8.png")) for label in "ab")
    second.write_bytes(first.read_bytes())
    with os.fdopen(os.dup(1), "w", encoding="utf-8", errors="strict") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["data", "check", str(pictures)]) == 1
    assert "PROBLEM  1 picture under more than one class: data/train/a/\\udcfc8.png" in capfd.readouterr().out


def test_foreign_folders_are_counted_by_a_name_that_a_manifest_can_hold(tmp_path: Path, make: Make) -> None:
    odd = rename(make(tmp_path / "x", {"things": 3}) / "things", b"\xfcbrig")
    twice = [make(tmp_path / place, {"rest": 2}) / "rest" for place in ("y", "z")]
    counts = told({}, read_foreign([odd, *twice], SPEC, lambda _line: None))["foreign"]
    assert (counts["\\udcfcbrig"], counts["rest"]) == (3, 4)


@pytest.mark.parametrize(
    ("name", "said"), [(b"-", "means a class left out"), (b"x\ny", "has a line break or control character")]
)
def test_a_class_that_cannot_be_told_in_a_line_is_refused(tmp_path: Path, make: Make, name: bytes, said: str) -> None:
    rename(make(tmp_path / "data", {"a": 5, "b": 5}) / "b", name)
    with pytest.raises(DataError, match=rf"class folder .*{said}.*; rename it"):
        open_data([tmp_path / "data"])
