"""``verify`` replays the golden pictures on every engine that runs here, and its exit code says how that went."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle, sha256_of, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.manifest import Manifest

Make = Callable[..., Path]


def rewrite(path: Path, change: Callable[[Manifest], Manifest]) -> None:
    manifest = open_bundle(path).manifest
    write_bundle(path, change(manifest), {"model.onnx": (path / "model.onnx").read_bytes()})


def test_a_good_bundle_is_equal(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle()
    assert main(["verify", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["bundle"]["name"] == "tiny"
    assert (record["golden_pictures"], record["tolerance"]) == (2, 0.001)
    (row,) = record["files"]
    assert (row["file"], row["engine"], row["status"]) == ("model.onnx", "onnxruntime", "equal")
    assert 0 <= row["max_logit_difference"] <= 0.001
    assert row["milliseconds"] > 0
    assert main(["verify", str(path), "--engine", "onnxruntime"]) == 0
    assert "model.onnx  fp32  onnxruntime  equal: |Δlogit| " in capsys.readouterr().out


def test_an_engine_that_differs_is_exit_code_4(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle()

    def shift(manifest: Manifest) -> Manifest:
        rows = tuple(tuple(value + 1 for value in row) for row in manifest.golden.logits["model.onnx"])
        return dataclasses.replace(manifest, golden=dataclasses.replace(manifest.golden, logits={"model.onnx": rows}))

    rewrite(path, shift)
    assert main(["verify", str(path), "--json"]) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["files"][0]["status"] == "differs"
    assert "with logits off by 1 (allowed 0.001)" in said.err


def test_a_bundle_without_anything_for_this_machine_is_exit_code_5(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tiny_bundle()), "--engine", "tensorrt"]) == 5
    said = capsys.readouterr()
    assert "not checked: no engine asked for runs onnx" in said.out
    assert "could be checked here" in said.err


def test_a_damaged_bundle_is_exit_code_5(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle()
    (path / "model.onnx").write_bytes(b"")
    assert main(["verify", str(path)]) == 5
    assert "was changed after export" in capsys.readouterr().err


def test_a_file_that_its_engine_refuses_does_not_hide_what_the_others_answer(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle(openvino=True)
    files = {name: (path / name).read_bytes() for name in ("model.onnx", "model.bin")} | {"model.xml": b"<net/>"}

    def spoil(manifest: Manifest) -> Manifest:
        ir, onnx = manifest.artifacts
        spoilt = dataclasses.replace(ir, sha256=sha256_of(files["model.xml"]), bytes=len(files["model.xml"]))
        return dataclasses.replace(manifest, artifacts=(spoilt, onnx))

    write_bundle(path, spoil(open_bundle(path).manifest), files)
    assert main(["verify", str(path), "--json"]) == 5
    said = capsys.readouterr()
    assert [row["status"] for row in json.loads(said.out)["files"]] == ["refused", "equal"]
    assert "does not take model.xml" in said.err
    assert main(["verify", str(path)]) == 5
    assert "model.onnx  fp32  onnxruntime  equal" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 5
    said = capsys.readouterr()
    assert [bool(row["layers"]) for row in json.loads(said.out)["files"]] == [False, True]
    assert "does not take model.xml" in said.err


def test_a_network_of_another_size_than_the_manifests_is_refused_by_each_verb_in_one_line(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle()
    manifest = open_bundle(path).manifest
    wide = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, width=64))
    write_bundle(path, wide, {"model.onnx": (path / "model.onnx").read_bytes()})
    for verb in ("verify", "inspect"):
        assert main([verb, str(path)]) == 5
        assert "not image uint8 [N, 32, 64, 3] -> logits" in capsys.readouterr().err


def test_a_strangers_bundle_writes_nothing_of_its_own_on_the_terminal(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle()
    files = {"model.onnx": (path / "model.onnx").read_bytes()}
    manifest = open_bundle(path).manifest
    card = dataclasses.replace(manifest.card, intended_use="tests\x1b[2J\nand  more")
    write_bundle(path, dataclasses.replace(manifest, card=card), files)
    assert main(["verify", str(path)]) == 0
    assert "For: tests\\x1b[2J and more\n" in capsys.readouterr().out
    record = json.loads((path / "manifest.json").read_text()) | {"\x1b[2J": 1}
    (path / "manifest.json").write_text(json.dumps(record))
    assert main(["verify", str(path)]) == 5
    assert "unknown key '\\x1b[2J'" in capsys.readouterr().err


def test_an_inspection_without_room_for_the_engines_profile_says_where(
    tiny_bundle: Make,
    disk_of: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = disk_of(16)
    path = tiny_bundle()
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    assert main(["inspect", str(path)]) == 1
    assert f"ONNX Runtime's profile {disk}/" in capsys.readouterr().err
    assert list(disk.iterdir()) == []


def test_an_unknown_engine_is_exit_code_2(tiny_bundle: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tiny_bundle()), "--engine", "abacus"]) == 2
    assert "--engine abacus is unknown; choose onnxruntime" in capsys.readouterr().err
