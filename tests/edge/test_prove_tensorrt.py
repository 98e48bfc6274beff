"""The one command that proves TensorRT on a GPU: what it writes, on a fake GPU, and what it says without any."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines import tensorrt_module
from kdlight_edge.engines.tensorrt_plan import cached_engine, read_plan
from kdlight_edge.manifest import Artifact
from scripts import prove_tensorrt
from tests.edge.fake_tensorrt import HERE, add_plan, give_gpu, keep_engine

Make = Callable[..., Path]


def find_gpu(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    gpu = give_gpu(monkeypatch, path)
    monkeypatch.setattr(prove_tensorrt, "lack", lambda: None)
    monkeypatch.setattr(prove_tensorrt, "open_trt", lambda: gpu.trt)
    monkeypatch.setattr(prove_tensorrt, "open_device", gpu.open_device)


def test_without_a_gpu_nothing_is_proved_and_nothing_written(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if tensorrt_module.lack() is None:
        pytest.skip("a GPU is here")
    out = tmp_path / "found.json"
    assert prove_tensorrt.main([str(add_plan(tiny_bundle())), "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith("nothing can be proved here: tensorrt needs ")
    assert not out.exists()


def test_every_kind_of_pass_is_measured_and_told_apart(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path, out = add_plan(tiny_bundle(), engine=False), tmp_path / "found.json"
    find_gpu(monkeypatch, path)

    def build(bundle: Bundle, artifact: Artifact, *_: object) -> Path:
        plan = read_plan(bundle, artifact)
        keep_engine(cached_engine(plan, HERE), plan)
        return cached_engine(plan, HERE)

    monkeypatch.setattr(prove_tensorrt, "build_here", build)
    monkeypatch.setattr(prove_tensorrt, "WARM", 2)
    monkeypatch.setattr(prove_tensorrt, "BATCHES", (1, 4))
    assert prove_tensorrt.main([str(path), "--passes", "5", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    engine = record["engines"]["model.tensorrt.json"]
    assert engine["golden_max_logit_difference"] < 1e-3
    kinds = {(row["batch"], row["cuda_graph"], row["copies"], "from_python" in row) for row in engine["passes"]}
    assert len(kinds) == len(engine["passes"]) == 12
    assert {row["n"] for row in engine["passes"]} == {5}
    assert record["gpu"]["name"] == "Fake GPU"
    assert record["torch_cuda"] == "not measured: no --run"


def test_a_bundle_without_a_plan_is_refused(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle()
    find_gpu(monkeypatch, path)
    assert prove_tensorrt.main([str(path)]) == 5
    assert "holds nothing for TensorRT" in capsys.readouterr().err
