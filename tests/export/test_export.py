"""`kdlight-edge export`: equal from bytes, within budget, whole or not at all."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_devices.board import Board
from kdlight_devices.detect import BOARDS
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.manifest import Manifest, Scans, to_json
from kdlight_export.onnx_from_student import onnx_from_student
from kdlight_train import finished
from kdlight_train.finished import Finished

CARD = """
name = "wall"
version = "1.2.0"
intended_use = "Sorting pictures of walls."
data_terms = "CC0"

[scans]
modalities = ["DX", "CR"]
body_parts = ["CHEST"]

[labels.crack]
text = "Crack"
positive = true
sensitivity_floor = 0.9
"""


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_finished_run_becomes_a_bundle_that_proves_itself(run: Path, tmp_path: Path) -> None:
    out, card = tmp_path / "wall.kdl", tmp_path / "card.toml"
    card.write_text(CARD)
    assert main(["export", str(run), "--target", "cpu", "--out", str(out), "--card", str(card)]) == 0
    manifest = open_bundle(out).manifest
    assert (manifest.name, manifest.version) == ("wall", "1.2.0")
    assert [(label.id, label.text, label.positive) for label in manifest.labels] == [
        ("crack", "Crack", True), ("no_crack", "no crack", False),
    ]  # fmt: skip
    assert manifest.scans == Scans(("DX", "CR"), ("CHEST",))
    artifact = next(artifact for artifact in manifest.artifacts if artifact.file == "student.onnx")
    assert artifact.agreement == 1.0
    assert artifact.max_logit_difference is not None
    assert artifact.max_logit_difference <= 1e-3
    assert artifact.accuracy is not None
    with open_classifier(out, engine="onnxruntime") as classifier:
        assert classifier.verify() < 1e-3


def test_a_bundle_can_be_named_otherwise_than_its_card(run: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text(CARD)
    words = ["export", str(run), "--int8", "off", "--out", str(tmp_path / "x.kdl"), "--card", str(card)]
    assert main([*words, "--name", "wall-nano"]) == 0
    manifest = open_bundle(tmp_path / "x.kdl").manifest
    assert (manifest.name, manifest.version) == ("wall-nano", "1.2.0")


def test_without_held_out_pictures_the_procedural_ones_are_the_proof(run: Path, tmp_path: Path) -> None:
    (run / "held_out.csv").unlink()
    assert main(["export", str(run), "--out", str(tmp_path / "wall.kdl")]) == 0
    assert open_bundle(tmp_path / "wall.kdl").manifest.artifacts[0].accuracy is None


def test_pictures_that_no_longer_decode_are_left_out_and_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (20, 40):
        file = tmp_path / f"{seed}.jpg"
        file.write_bytes(file.read_bytes()[:200])
    assert main(["export", str(run), "--int8", "on", "--out", str(tmp_path / "wall.kdl")]) == 0
    told = capsys.readouterr().err
    assert f"left out of held_out.csv, unreadable: {tmp_path / '20.jpg'}: " in told
    assert f"left out of calibration.csv, unreadable: {tmp_path / '40.jpg'}: " in told
    trials = open_bundle(tmp_path / "wall.kdl").manifest.trials
    assert trials is not None
    assert trials.pictures == 11


def test_an_older_bundle_is_replaced_whole(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--out", str(out)]) == 0
    (out / "left_over.bin").write_bytes(b"x")
    assert main(["export", str(run), "--target", "other", "--out", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["manifest.json", "student.onnx"]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_an_engine_that_answers_differently_is_not_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def off_by_a_little(student: Finished, name: str) -> bytes:
        weights = {**student.weights, "head.bias": student.weights["head.bias"] + 0.01}
        return onnx_from_student(dataclasses.replace(student, weights=weights), name)

    monkeypatch.setattr("kdlight_export.forge.onnx_from_student", off_by_a_little)
    assert main(["export", str(run), "--out", str(tmp_path / "wall.kdl")]) == 4
    assert "answers differently from the student: max |Δlogit| 0.01" in last_line(capsys)
    assert not (tmp_path / "wall.kdl").exists()


def test_a_bundle_above_the_boards_budget_is_refused(
    run: Path, make_finished: Callable[..., Finished], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.save(run, make_finished("paper"))
    assert main(["export", str(run), "--target", "rpi", "--out", str(tmp_path / "wall.kdl")]) == 3
    assert "train a smaller --student" in last_line(capsys)
    assert not (tmp_path / "wall.kdl").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--out", "wall.onnx"], 2, "must end in .kdl"),
        (["--out", "wall.kdl", "--target", "toaster"], 2, "--target"),
        (["--out", "wall.kdl", "--name", ""], 2, "--name is empty"),
        (["--out", "wall.kdl", "--card", "nowhere.toml"], 2, "--card nowhere.toml cannot be read: No such file or dir"),
        (["--out", "wall.kdl", "--card", "broken.toml"], 2, "--card broken.toml is not TOML: "),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("name = \n")
    assert main(["export", str(run), *flags]) == code
    assert message in last_line(capsys)


def test_a_training_that_has_not_ended_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "wall.kdl")]) == 1
    assert "the training has not ended; finish it with train --resume" in last_line(capsys)


@pytest.mark.parametrize("flags", [[], ["--data", "pictures"]])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.kdl", "there is nothing at nowhere.kdl"),
        ("empty", "empty is no run and no bundle"),
        ("file.txt", "file.txt is no run and no bundle"),
    ],
)
def test_what_is_neither_a_run_nor_a_bundle_is_told_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    name: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file.txt").write_text("")
    assert main(["export", name, "--out", "wall.kdl", *flags]) == 1
    assert f"{said}; give the --out of a training, or a bundle" in last_line(capsys)


def test_a_card_for_another_class_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "card.toml"
    card.write_text('[labels.pothole]\ntext = "Pothole"\n')
    assert main(["export", str(run), "--out", str(tmp_path / "wall.kdl"), "--card", str(card)]) == 2
    assert "names the label pothole; the student knows crack, no_crack" in last_line(capsys)


@pytest.mark.parametrize("floor", ["3.0", "-0.1", "nan"])
def test_a_floor_that_is_no_share_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], floor: str) -> None:
    card = tmp_path / "card.toml"
    card.write_text(f"[labels.crack]\nsensitivity_floor = {floor}\n")
    assert main(["export", "run", "--out", str(tmp_path / "wall.kdl"), "--card", str(card)]) == 2
    assert f"'labels.crack.sensitivity_floor' is {floor}; it must be from 0 to 1" in last_line(capsys)


def test_something_else_at_the_place_of_the_bundle_is_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "photos.kdl"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"mine")
    assert main(["export", str(run), "--out", str(out)]) == 5
    assert "exists and is not a bundle" in last_line(capsys)
    assert (out / "holiday.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("board", [board for board in BOARDS if board.budget], ids=lambda board: board.name)
def test_the_plan_tells_files_and_budget_with_their_reasons_before_there_is_a_run(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "no-such-run", "--target", board.name, "--plan"]) == 0
    told = capsys.readouterr().out
    assert "onnx fp32: ONNX Runtime runs it on every processor" in told
    assert board.budget is not None
    for source in (board.budget.source, board.budget.p99_source, board.budget.size_source, board.budget.watts_source):
        assert source in told
    assert f"{board.budget.bundle_bytes:,} bytes of files (judged by export)" in told
    assert f"camera {board.camera}" in told


def test_without_a_place_for_the_bundle_nothing_is_exported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run)]) == 2
    assert "--out NAME.kdl is missing" in last_line(capsys)


@pytest.mark.parametrize("target", ["cpu", "rpi"])
def test_the_bundle_of_a_small_student_is_within_two_megabytes_with_every_file_in_it(
    run: Path, make_finished: Callable[..., Finished], tmp_path: Path, target: str
) -> None:
    finished.save(run, make_finished("small", side=128))
    out = tmp_path / "wall.kdl"
    manifest = manifest_of(run, out, "--target", target, "--int8", "on")
    assert open_bundle(out).bytes <= 2_000_000
    eight = [artifact for artifact in manifest.artifacts if artifact.precision == "int8"]
    assert min(artifact.all_bytes for artifact in eight) <= 400_000
    assert {artifact.file for artifact in manifest.artifacts} >= {"student.onnx", "student.int8.onnx"}


def test_nothing_private_travels_in_a_bundle(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--out", str(tmp_path / "wall.kdl")]) == 0
    text = json.dumps(json.loads((tmp_path / "wall.kdl" / "manifest.json").read_text()))
    assert str(tmp_path) not in text
    assert np.all(["held_out" not in text, ".jpg" not in text])


def manifest_of(run: Path, out: Path, *flags: str) -> Manifest:
    assert main(["export", str(run), "--out", str(out), *flags]) == 0
    return open_bundle(out).manifest


def test_too_few_held_out_pictures_cannot_win_int8_its_place(run: Path, tmp_path: Path) -> None:
    manifest = manifest_of(run, tmp_path / "wall.kdl", "--target", "rpi")
    assert [artifact.file for artifact in manifest.artifacts] == ["student.onnx"]
    assert manifest.trials is not None
    exact, eight = manifest.trials.files
    assert (exact.kept, eight.kept) == (True, False)
    assert "has 12 held-out pictures to be judged on (100 are needed)" in eight.reason
    assert eight.p50_ms is not None
    assert eight.accuracy is not None
    assert eight.agreement is not None
    assert manifest.trials.pictures == 12


def test_a_promise_that_few_held_out_pictures_break_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.toml"
    card.write_text("[labels.crack]\nsensitivity_floor = 1.0\n[labels.no_crack]\nsensitivity_floor = 1.0\n")
    trials = manifest_of(run, tmp_path / "wall.kdl", "--int8", "off", "--target", "rpi", "--card", str(card)).trials
    assert trials is not None
    broken = [label for label, share in trials.files[0].recall.items() if share < 1]
    told = [line for line in capsys.readouterr().err.splitlines() if "12 in all are too few to fit thresholds" in line]
    assert broken
    assert [line.split(", the card")[0].split(" of ")[-1] for line in told] == broken


def test_forced_int8_is_preferred_and_its_doubts_are_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wall.kdl"
    manifest = manifest_of(run, out, "--target", "rpi", "--int8", "on")
    assert [artifact.precision for artifact in manifest.artifacts] == ["int8", "fp32"]
    assert "forced by --int8 on, although it has 12 held-out pictures" in capsys.readouterr().err
    eight, exact = manifest.artifacts
    assert eight.bytes < exact.bytes / 2
    assert manifest.golden.allowed("student.int8.onnx") == max(0.05, round(eight.max_logit_difference or 0, 4))
    assert manifest.golden.allowed("student.onnx") == 0.05
    with open_classifier(out) as classifier:
        assert classifier.origin["precision"] == "int8"
    assert main(["verify", str(out)]) == 0


@pytest.mark.parametrize("target", ["cpu", "rpi", "jetson"])
def test_without_int8_none_is_tried(run: Path, tmp_path: Path, target: str) -> None:
    manifest = manifest_of(run, tmp_path / "wall.kdl", "--target", target, "--int8", "off")
    assert manifest.trials is not None
    assert "int8" not in {trial.precision for trial in manifest.trials.files}
    assert "student.onnx" in {artifact.file for artifact in manifest.artifacts}


def test_a_forced_int8_bundle_serves_both_engines(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    out = tmp_path / "wall.kdl"
    manifest = manifest_of(run, out, "--target", "x86-vnni", "--int8", "on")
    files = {artifact.file: artifact for artifact in manifest.artifacts}
    assert set(files) == {"student.int8.xml", "student.int8.onnx", "student.onnx"}
    assert [part.file for part in files["student.int8.xml"].parts] == ["student.int8.bin"]
    for engine in ("openvino", "onnxruntime"):
        with open_classifier(out, engine=engine) as classifier:
            assert classifier.origin["precision"] == "int8"
    (out / "student.int8.bin").write_bytes((out / "student.int8.bin").read_bytes()[:-1] + b"x")
    assert main(["verify", str(out)]) == 5


def test_without_openvino_the_bundle_is_made_and_the_lack_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "kdlight_export.openvino_from_onnx", raising=False)
    manifest = manifest_of(run, tmp_path / "wall.kdl", "--target", "x86-vnni", "--int8", "off")
    assert [artifact.file for artifact in manifest.artifacts] == ["student.onnx"]
    assert manifest.trials is not None
    assert "pip install 'kdlight-edge[openvino]'" in manifest.trials.files[-1].reason


def test_without_calibration_pictures_int8_is_left_out_or_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "calibration.csv").unlink()
    manifest = manifest_of(run, tmp_path / "wall.kdl", "--target", "rpi")
    assert manifest.trials is not None
    assert "calibration.csv names no picture that is still there" in manifest.trials.files[-1].reason
    assert str(tmp_path) not in json.dumps(to_json(manifest))
    assert main(["export", str(run), "--target", "rpi", "--int8", "on", "--out", str(tmp_path / "other.kdl")]) == 1
    assert "INT8 is calibrated on them" in last_line(capsys)
    assert not (tmp_path / "other.kdl").exists()


def test_a_loss_that_cannot_be_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--max-drop", "-1", "--out", str(tmp_path / "wall.kdl")]) == 2
    assert "--max-drop -1 is not between 0 and 100 points" in last_line(capsys)
