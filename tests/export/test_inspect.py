"""``inspect`` tells what an engine executes, so that "INT8" cannot be a label only."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.cli import main

Make = Callable[..., Path]


def inspected(capsys: pytest.CaptureFixture[str], bundle: Path, *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["inspect", str(bundle), "--json", *flags]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    """Return a bundle with every file that a processor runs."""
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "x86-vnni", "--int8", "on", "--out", str(out)]) == 0
    return out


def test_every_file_tells_the_precision_that_is_executed_and_where_bytes_and_work_are(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    record = inspected(capsys, bundle)
    manifest = open_bundle(bundle).manifest
    assert {(entry["file"], entry["engine"]) for entry in record["files"]} == {
        ("student.onnx", "onnxruntime"), ("student.int8.onnx", "onnxruntime"), ("student.int8.xml", "openvino"),
    }  # fmt: skip
    for entry in record["files"]:
        assert entry["label_holds"], entry["file"]
        # The engine pads channels to the width of its registers.
        assert manifest.macs <= entry["macs"] < 1.1 * manifest.macs
        assert manifest.parameters * (0.9 if entry["precision"] == "int8" else 3.9) < entry["weight_bytes"]
        assert sum(layer["macs"] for layer in entry["layers"]) == entry["macs"]
        assert entry["executed"]["int8" if entry["precision"] == "int8" else "fp32"] > 0.8
    names = {layer["name"] for layer in record["files"][0]["layers"]}
    assert any(name.startswith("deep0.filter") for name in names)


def test_an_older_openvino_is_inspected_too(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.delattr(openvino, "ProfilingInfo", raising=False)  # 2024 has it elsewhere
    (entry,) = inspected(capsys, bundle, "--engine", "openvino")["files"]
    assert entry["label_holds"]
    assert entry["microseconds"] > 0


def test_int8_that_is_computed_in_float_is_called_a_label_only(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = open_bundle(bundle).manifest
    exact = next(artifact for artifact in manifest.artifacts if artifact.file == "student.onnx")
    labelled = dataclasses.replace(manifest, artifacts=(dataclasses.replace(exact, precision="int8"),))
    write_bundle(bundle, labelled, {"student.onnx": (bundle / "student.onnx").read_bytes()})
    (entry,) = inspected(capsys, bundle)["files"]
    assert (entry["precision"], entry["label_holds"], entry["executed"]) == ("int8", False, {"fp32": 1.0})
    assert main(["inspect", str(bundle)]) == 0
    assert "INT8 IS A LABEL ONLY HERE: this engine computes 100.0% in fp32" in capsys.readouterr().out


def test_the_table_for_people_sums_up_each_file(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_bundle()), "--engine", "onnxruntime"]) == 0
    told = capsys.readouterr().out
    assert "model.onnx on onnxruntime, called fp32" in told
    assert "100.0% in fp32" in told


def test_a_bundle_without_anything_for_this_machine_is_exit_code_5(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle()), "--engine", "openvino"]) == 5
    assert "no engine asked for runs its files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "abacus"], "--engine abacus is unknown"),
        (["--threads", "0"], "--threads 0 is below 1"),
        (["--threads", "1000000"], "--threads 1000000 is above 256"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["inspect", str(tiny_bundle()), *flags]) == 2
    assert message in capsys.readouterr().err


def test_tensorrt_tells_layers_and_precisions_without_a_gpu(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    out = tmp_path / "board.kdl"
    assert main(["export", str(run), "--target", "orin-nano", "--int8", "on", "--out", str(out)]) == 0
    record = inspected(capsys, out, "--engine", "tensorrt")
    files = {entry["file"]: entry for entry in record["files"]}
    assert set(files) == {"student.fp16.tensorrt.json", "student.symmetric8.tensorrt.json"}
    macs = open_bundle(out).manifest.macs
    for entry in files.values():
        assert entry["label_holds"], entry["executed"]
        assert macs <= entry["macs"] < 1.05 * macs
        assert entry["microseconds"] == 0
    assert files["student.fp16.tensorrt.json"]["executed"]["fp16"] > 0.99
    eight = {layer["name"]: layer for layer in files["student.symmetric8.tensorrt.json"]["layers"]}
    assert eight["deep0.filter"]["precision"] == "int8"
    assert eight["cam"]["precision"] == "fp32"
    assert main(["inspect", str(out), "--engine", "tensorrt"]) == 0
    assert "it tells no times without its GPU" in capsys.readouterr().out
