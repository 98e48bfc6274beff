"""A resumed training asks for what it still needs, and is the one that began."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_train import finished

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach for ImageNet weights on the network."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(torchvision.models, "get_model_weights", refuse)


@pytest.fixture
def words(tmp_path: Path, make: Make) -> list[str]:
    """Return a training of seconds that has ended in RUN, without its --teacher-weights."""
    make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    make(tmp_path / "other", {"": 6}, seed=77)
    with torch.random.fork_rng():
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "weights.pth")
    said = [
        "train", "--data", tmp_path / "data", "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--device",
        "cpu", "--teacher", "mobilenet_v3_small", "--student", "nano", "--imgsz", 32, "--teacher-imgsz", 32,
        "--epochs", 1, "--teacher-epochs", 1,
    ]  # fmt: skip
    made = [str(word) for word in said]
    assert main([*made, "--teacher-weights", str(tmp_path / "weights.pth")]) == 0
    return [*made, "--resume"]


def test_a_finished_training_needs_nothing_any_more(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}
    shutil.rmtree(tmp_path / "cache")
    capsys.readouterr()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'run' / 'report.json'}\n"
    assert err == f"{tmp_path / 'run'} is finished: nothing is left to do\n"
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()} == files


def test_a_stopped_training_goes_on_with_the_teacher_that_it_began_with(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    before = finished.load(run).weights
    for name in ("student.pt", "report.json", "report.html"):
        (run / name).unlink()
    assert main(words) == 0
    assert "going on from" in capsys.readouterr().err
    assert all(torch.equal(before[key], value) for key, value in finished.load(run).weights.items())
    (run / "report.html").unlink()
    shutil.rmtree(tmp_path / "cache")
    assert main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"--cache {tmp_path / 'cache'} no longer holds the teacher" in last
    assert last.endswith("with --teacher-weights")


def test_a_training_is_resumed_with_its_own_weights_and_foreign_pictures_alone(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "other.pth")
    assert main([*words, "--teacher-weights", str(tmp_path / "other.pth")]) == 2
    assert "was started with other --teacher-weights (SHA-256 " in capsys.readouterr().err.splitlines()[-1]
    assert main([*words, "--foreign", str(tmp_path / "other")]) == 2
    assert "was started with no --foreign; use the same" in capsys.readouterr().err.splitlines()[-1]


def test_a_training_of_an_older_version_goes_on_though_its_recipe_lacks_a_key(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run" / finished.CLAIM
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["recipe"]["teacher"]["count"]
    file.write_text(json.dumps(record), encoding="utf-8")
    capsys.readouterr()
    assert main(words) == 0
    assert "is finished" in capsys.readouterr().err
    assert main([*words, "--teachers", "2"]) == 2
    assert "was started with teacher.count = 1; use the same" in capsys.readouterr().err
