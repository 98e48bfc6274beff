"""What an export meets that it cannot use: one line, the right exit code, and no half-written bundle."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from kdlight_edge.bundle import open_bundle, sha256_of, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import UsageError
from kdlight_export.card import read_card

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    """Return a bundle with a float file only."""
    assert main(["export", str(run), "--int8", "off", "--target", "rpi", "--out", str(tmp_path / "good.kdl")]) == 0
    return tmp_path / "good.kdl"


@pytest.fixture
def change(bundle: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Return ``change(how) -> Path``: a bundle sealed around an ONNX file that was changed before."""

    def sealed(how: Change) -> Path:
        known = open_bundle(bundle).manifest
        model = onnx.load(bundle / "student.onnx")
        how(model)
        content = model.SerializeToString()
        artifact = dataclasses.replace(known.artifacts[0], sha256=sha256_of(content), bytes=len(content))
        manifest = dataclasses.replace(known, artifacts=(artifact,))
        return write_bundle(tmp_path / "changed.kdl", manifest, {"student.onnx": content}).path

    return sealed


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line, which must be an error and no trace."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "\n".join(lines)
    assert lines[-1].startswith("kdlight-edge: ")
    return lines[-1]


def test_a_name_that_a_manifest_cannot_hold_is_refused_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--out", str(tmp_path / "wall\udcfc.kdl")]) == 2
    assert "the bundle's name 'wall\\udcfc' is not UTF-8" in only_line(capsys)


def test_a_card_may_begin_with_the_mark_that_windows_writes_and_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text('name = "wall"\n', encoding="utf-8-sig")
    assert read_card(tmp_path / "card.toml").name == "wall"
    (tmp_path / "card.toml").write_text(f"version = {'9' * 5000}")
    with pytest.raises(UsageError, match=r"card.toml is not TOML"):
        read_card(tmp_path / "card.toml")


def test_a_card_whose_label_breaks_a_line_is_refused_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.toml").write_text('[labels.crack]\ntext = "a\\nb"\n')
    flags = ["--card", str(tmp_path / "card.toml"), "--out", str(tmp_path / "wall.kdl")]
    assert main(["export", str(run), *flags]) == 2
    assert "card key 'labels.crack.text' holds 'a\\nb', which has line breaks" in only_line(capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file;label\na.png;crack\n", "held_out.csv cannot be read (it needs the columns file,label)"),
        ("file,label\na.png,riss\n", "held_out.csv gives a.png the class riss; the student knows crack, no_crack"),
        ("file,label\na.png\n", "held_out.csv gives a.png the class None; the student knows crack, no_crack"),
    ],
)
def test_a_list_of_pictures_that_was_edited_is_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (run / "held_out.csv").write_text(text)
    assert main(["export", str(run), "--target", "rpi", "--out", str(tmp_path / "wall.kdl")]) == 1
    assert said in only_line(capsys)


def test_a_place_that_cannot_take_the_bundle_is_told_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("kdlight_export.forge.onnx_from_student", work)
    (tmp_path / "full.kdl").mkdir()
    for out, said in ((tmp_path / "full.kdl", "exists and is not a bundle"), ("/proc/a.kdl", "could not be written")):
        assert main(["export", str(run), "--out", str(out)]) == 5
        assert said in only_line(capsys)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--out", "full.kdl"], 5, "full.kdl exists and is not a bundle"),
        (["--out", "wall"], 2, "--out wall must end in .kdl"),
        (["--out", "new.kdl", "--name", "a\nb"], 2, "the bundle's name 'a\\nb' holds what cannot be shown in a line"),
        (["--out", "new.kdl", "--card", "card.toml"], 2, "the bundle's version '1\\x07' holds what cannot be shown"),
    ],
)
def test_neither_a_run_nor_a_bundle_is_worked_on_for_a_place_or_a_name_that_cannot_be(
    run: Path,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    code: int,
    said: str,
) -> None:
    def work(*_: object, **_named: object) -> None:
        raise AssertionError

    monkeypatch.setattr("kdlight_export.forge.onnx_from_student", work)
    monkeypatch.setattr("kdlight_train.run_from_bundle.run_from_bundle", work)
    monkeypatch.chdir(tmp_path)
    Path("full.kdl").mkdir()
    Path("card.toml").write_text('version = "1\\u0007"\n')
    for given in ([str(run)], [str(bundle), "--data", "pictures"]):
        assert main(["export", *given, *flags]) == code
        assert said in only_line(capsys)


def one_class(run: Path) -> None:
    table = run / "calibration.csv"
    rows = [row for row in table.read_text().splitlines() if not row.endswith("no_crack")]
    table.write_text("\n".join(rows) + "\n")


def test_calibration_pictures_of_one_class_leave_int8_out(run: Path, tmp_path: Path) -> None:
    one_class(run)
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "rpi", "--out", str(out)]) == 0
    manifest = open_bundle(out).manifest
    assert [artifact.file for artifact in manifest.artifacts] == ["student.onnx"]
    assert manifest.trials is not None
    assert "holds no readable picture of no_crack; INT8 needs every class" in manifest.trials.files[-1].reason


def test_calibration_pictures_of_one_class_refuse_forced_int8(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_class(run)
    assert main(["export", str(run), "--int8", "on", "--out", str(tmp_path / "wall.kdl")]) == 1
    assert "holds no readable picture of no_crack; INT8 needs every class" in only_line(capsys)
    assert not (tmp_path / "wall.kdl").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    run: Path, disk_of: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk = disk_of(128)
    assert main(["export", str(run), "--int8", "off", "--out", str(small_disk / "wall.kdl")]) == 5
    assert "wall.kdl could not be written (No space left on device); nothing was changed there" in only_line(capsys)
    assert list(small_disk.iterdir()) == []


def test_no_room_for_what_is_compared_first_is_one_line(
    run: Path,
    tmp_path: Path,
    disk_of: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small_disk = disk_of(128)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    assert main(["export", str(run), "--int8", "off", "--out", str(tmp_path / "wall.kdl")]) == 5
    assert "No space left on device" in only_line(capsys)
    assert list(small_disk.iterdir()) == []
    assert not (tmp_path / "wall.kdl").exists()


def test_a_bundle_around_a_foreign_onnx_file_cannot_be_built_anew(
    change: Callable[[Change], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for entry in model.graph.initializer:
            entry.name = f"other.{entry.name}"
        for node in model.graph.node:
            known = {entry.name for entry in model.graph.initializer}
            node.input[:] = [f"other.{name}" if f"other.{name}" in known else name for name in node.input]

    path = change(rename)
    assert main(["verify", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path), "--data", str(tmp_path), "--out", str(tmp_path / "new.kdl")]) == 1
    assert "the bundle's float ONNX file is not one of this program's 'nano'" in only_line(capsys)
    assert not (tmp_path / "new.kdl").exists()


def newer(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def unknown(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type = "Relish"


def other_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", 2, 2, 2]))


@pytest.mark.parametrize(
    ("how", "said"),
    [(newer, "opset"), (unknown, "Relish"), (other_output, "logits")],
    ids=["opset", "operator", "output"],
)
def test_a_file_that_an_engine_cannot_take_is_refused_with_the_reason(
    change: Callable[[Change], Path], how: Change, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = change(how)
    assert main(["verify", str(path), "--engine", "onnxruntime"]) == 5
    assert said in only_line(capsys)


def test_a_manifest_without_a_temperature_is_refused_and_names_it(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((bundle / "manifest.json").read_text())
    del record["artifacts"][0]["temperature"]
    (bundle / "manifest.json").write_text(json.dumps(record))
    for command in (["verify", str(bundle)], ["export", str(bundle), "--data", "x", "--out", "y.kdl"]):
        assert main(command) == 5
        assert "temperature" in only_line(capsys)


def test_a_temperature_that_was_not_fitted_is_caught(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = open_bundle(bundle).manifest
    artifact = dataclasses.replace(known.artifacts[0], temperature=known.artifacts[0].temperature * 1.2)
    content = (bundle / "student.onnx").read_bytes()
    write_bundle(bundle, dataclasses.replace(known, artifacts=(artifact,)), {"student.onnx": content})
    assert main(["verify", str(bundle)]) == 4
    assert "temperature" in only_line(capsys)
