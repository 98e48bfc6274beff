"""`train --qat`: 8-bit numbers learnt from a run, or from a bundle whose run is gone, and the export of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.golden import golden_picture
from kdlight_train import command, finished, qat
from kdlight_train.data import open_data
from kdlight_train.finished import Finished
from kdlight_train.rounded import RoundedStudent
from kdlight_train.rounding import round_student
from kdlight_train.student import Student

RECIPE = {"seed": 0, "input": {"imgsz": 64}, "teacher": {"imgsz": 64}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures of two classes."""
    root = tmp_path_factory.mktemp("pictures")
    for seed in range(48):
        file = root / "train" / ("crack" if seed % 2 else "no_crack") / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), golden_picture(seed))
    return root


@pytest.fixture(scope="module")
def student(data: Path, make_finished: Callable[..., Finished]) -> Finished:
    """Return a student that knew those pictures."""
    known = make_finished()
    facts = {"recipe": RECIPE, "data": {"fingerprint": open_data([data]).fingerprint, "counts": {}}}
    return dataclasses.replace(known, provenance={**known.provenance, **facts})


@pytest.fixture(scope="module")
def bundle(student: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its bundle; the run is gone."""
    folder = tmp_path_factory.mktemp("old")
    finished.save(folder, student)
    assert main(["export", str(folder), "--int8", "off", "--out", str(folder / "wall.kdl")]) == 0
    (folder / "student.pt").unlink()
    return folder / "wall.kdl"


@pytest.fixture(scope="module")
def learnt(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return RUN in which the bundle's student has learnt 8 bits."""
    run = tmp_path_factory.mktemp("run")
    assert learn(data, run, "--from", str(bundle)) == 0
    return run


def learn(data: Path, run: Path, *more: str) -> int:
    flags = ["--qat-epochs", "3", "--device", "cpu", *more]
    return main(["train", "--qat", "--data", str(data), "--out", str(run), *flags])


def weights(run: Path) -> dict[str, torch.Tensor]:
    record: dict[str, dict[str, torch.Tensor]] = torch.load(run / qat.FILE, weights_only=True)
    return record["weights"]


def test_training_mends_what_bad_ranges_spoil(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def badly(network: Student, pictures: torch.Tensor) -> RoundedStudent:
        rounded = round_student(network, pictures)
        for found in rounded.maps().values():
            found.limit.mul_(0.4)
        return rounded

    monkeypatch.setattr(qat, "round_student", badly)
    assert learn(data, tmp_path, "--from", str(bundle), "--qat-epochs", "12", "--qat-lr", "2e-3") == 0
    history = torch.load(tmp_path / qat.CHECKPOINT, weights_only=True)["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, 13))
    assert history[-1]["distance"] < 0.5 * history[0]["distance"]


def test_export_builds_int8_from_what_was_learnt_and_fp32_from_the_student(
    learnt: Path, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    for name in ("student.pt", "held_out.csv", "calibration.csv"):
        (tmp_path / "plain" / name).write_bytes((learnt / name).read_bytes())
    built = {}
    for run, name in ((learnt, "taught"), (tmp_path / "plain", "plain")):
        out = tmp_path / f"{name}.kdl"
        assert main(["export", str(run), "--int8", "on", "--target", "rpi", "--out", str(out)]) == 0
        built[name] = open_bundle(out)
    taught, plain = (built[name].manifest for name in ("taught", "plain"))
    said = {trial.file: trial.reason for trial in taught.trials.files} if taught.trials else {}
    assert said["student.int8.onnx"].endswith("learnt with rounding on, 3 epochs (train --qat)")
    assert "train --qat" not in said["student.onnx"]
    assert taught.golden.logits["student.int8.onnx"] != plain.golden.logits["student.int8.onnx"]
    old = open_bundle(bundle).manifest.golden.logits["student.onnx"]
    assert np.allclose(taught.golden.logits["student.onnx"], old, atol=1e-4)


def test_what_was_killed_goes_on_to_the_same_numbers(
    learnt: Path, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def killed(line: str) -> None:
        told.append(line)
        if "epoch 2/" in line:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(command, "say_to_people", killed)
        assert learn(data, run, "--from", str(bundle)) == 130
    assert told[-1] == "stopped; the same command with --resume goes on"
    assert not (run / qat.FILE).exists()
    assert learn(data, run) == 0
    for key, value in weights(learnt).items():
        assert torch.equal(value, weights(run)[key]), key


def test_other_settings_begin_anew(learnt: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for file in learnt.iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    assert learn(data, run, "--qat-epochs", "1") == 0
    assert len(torch.load(run / qat.CHECKPOINT, weights_only=True)["history"]) == 1


def test_learnt_numbers_stay_until_other_ones_are_finished(
    learnt: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(line: str) -> None:
        if "epoch 1/" in line:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    run.mkdir()
    for file in learnt.iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(command, "say_to_people", killed)
        assert learn(data, run, "--qat-epochs", "2") == 130
    assert (run / qat.FILE).read_bytes() == (learnt / qat.FILE).read_bytes()


def test_numbers_of_another_student_are_not_built_from(
    learnt: Path, student: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in (qat.FILE, "held_out.csv", "calibration.csv"):
        (run / name).write_bytes((learnt / name).read_bytes())
    later = {**student.provenance, "made": "2026-06-01T00:00:00+00:00"}
    finished.save(run, dataclasses.replace(student, provenance=later))
    assert main(["export", str(run), "--int8", "on", "--out", str(tmp_path / "x.kdl")]) == 1
    assert "belongs to another student than student.pt" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x.kdl").exists()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--qat", "--recipe", "xray"], 2, "holds a finished student, whose recipe stays; leave out what sets recipe"),
        (["--qat", "--seed", "0"], 2, "leave out what sets seed"),
        (["--qat", "--resume", "--epochs", "7"], 2, "holds a student of another recipe"),
        (["--qat", "--qat-epochs", "0"], 2, "must be above 0"),
        (["--qat", "--qat-lr", "nan"], 2, "--qat-lr nan: it must be above 0 and below 1e+37"),
        (["--qat", "--qat-lr", "inf"], 2, "--qat-lr inf: it must be above 0 and below 1e+37"),
        (["--qat-epochs", "3"], 2, "--qat-epochs belongs to --qat; add it"),
        (["--from", "x.kdl"], 2, "--from belongs to --qat; add it"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    flags: list[str], code: int, said: str, learnt: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(data), "--out", str(learnt), *flags]) == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert (learnt / qat.FILE).exists()


def test_other_pictures_than_the_students_are_refused(
    learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("crack", "no_crack"):
        for seed in range(8):
            file = tmp_path / "train" / label / f"{seed}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), golden_picture(90 + seed + 20 * (label == "crack")))
    assert learn(tmp_path, learnt) == 1
    assert "not the pictures that" in capsys.readouterr().err.splitlines()[-1]


def test_a_bundle_does_not_overwrite_another_run(
    bundle: Path, data: Path, student: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {**student.provenance, "made": "2026-06-01T00:00:00+00:00"}
    finished.save(tmp_path, dataclasses.replace(student, provenance=later))
    assert learn(data, tmp_path, "--from", str(bundle)) == 2
    assert "holds another student than" in capsys.readouterr().err.splitlines()[-1]
