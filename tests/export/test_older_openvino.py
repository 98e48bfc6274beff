"""An OpenVINO that is older than what the export asks of it costs its files, and not the bundle."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_an_openvino_without_our_operators_is_told_and_its_files_are_left_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("openvino.")]:
        monkeypatch.delitem(sys.modules, name)  # what another test imported is found without its package
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    monkeypatch.delitem(sys.modules, "kdlight_export.openvino_from_onnx", raising=False)
    words = ["--target", "x86-vnni", "--int8", "off", "--out", str(tmp_path / "wall.kdl")]
    assert main(["export", str(run), *words]) == 0
    manifest = open_bundle(tmp_path / "wall.kdl").manifest
    assert [artifact.file for artifact in manifest.artifacts] == ["student.onnx"]
    assert manifest.trials is not None
    reason = manifest.trials.files[-1].reason
    assert "not built: openvino is installed and lacks what an export asks of it; pip install -U" in reason


def test_the_oldest_openvino_that_is_asked_for_has_our_operators() -> None:
    found = re.search(r'"openvino>=(\d+)', PROJECT.read_text(encoding="utf-8"))
    assert found is not None
    assert int(found[1]) >= 2025, "openvino.opset13 and openvino.ProfilingInfo came with 2025.0"
