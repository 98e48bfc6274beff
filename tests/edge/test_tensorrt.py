"""The TensorRT engine on a fake GPU as strict as a real one: order of calls, buffers, graphs, refusals, shutdown."""

import ctypes
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.engines import cuda, load, open_engine, tensorrt, tensorrt_module
from kdlight_edge.engines.tensorrt_plan import BuildPlan, cached_engine, read_plan
from kdlight_edge.errors import BundleError, EngineMismatch, EngineNotReady, KDLightError
from tests.edge.fake_tensorrt import HERE, Gpu, add_plan, give_gpu, keep_engine

Make = Callable[..., Path]


def pictures(n: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), np.uint8)


def opened(path: Path, *, graphs: bool = True) -> tensorrt.TensorRtEngine:
    bundle = open_bundle(path)
    return tensorrt.load(bundle, bundle.manifest.artifacts[0], graphs=graphs)


def test_everything_is_allocated_and_captured_before_the_first_picture(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle):
        log = gpu.devices[0].log
        assert log[:8] == ["pinned", "memory"] * 4
        one_pass = ["upload", "execute", "download", "download"]
        assert log[8:] == ["context", *one_pass, "synchronize", "record", *one_pass]


def test_a_picture_is_one_launch_and_one_wait_and_allocates_nothing(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        log = gpu.devices[0].log
        log.clear()
        for _ in range(3):
            engine.run(pictures(1))
        assert log == ["launch", "synchronize"] * 3


def test_the_map_is_copied_from_the_gpu_only_when_asked_for(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        log = gpu.devices[0].log
        log.clear()
        engine.run(pictures(1), cam=True)
        assert log == ["launch", "download", "synchronize"]


def test_each_size_of_batch_is_captured_once_and_large_ones_go_in_passes(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        engine.run(pictures(3))
        log = gpu.devices[0].log
        log.clear()
        engine.run(pictures(3))
        assert log == ["launch", "synchronize"]
        log.clear()
        engine.run(pictures(11))  # 4, 4 and 3: the profile ends at 4
        assert log.count("record") == 1
        log.clear()
        engine.run(pictures(11))
        assert log == ["launch", "synchronize"] * 3


def test_without_graphs_the_same_pass_is_put_into_the_stream_each_time(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle, graphs=False) as engine, opened(trt_bundle) as other:
        np.testing.assert_array_equal(engine.run(pictures(2)).logits, other.run(pictures(2)).logits)
        assert "record" not in gpu.devices[0].log
        assert "launch" not in gpu.devices[0].log


def test_times_are_taken_with_and_without_copies(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        log = gpu.devices[0].log
        assert len(engine.times(1, 5, copies=True)) == 5
        log.clear()
        assert min(engine.times(1, 2, copies=False)) >= 0
        assert "upload" not in log


def test_closing_releases_the_device_once_and_ends_the_owner(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        engine.run(pictures(1))
        assert any(thread.name.startswith("tensorrt") for thread in threading.enumerate())
    assert gpu.devices[0].log.count("close") == 1
    assert gpu.devices[0].closed
    assert not any(thread.name.startswith("tensorrt") for thread in threading.enumerate())


@pytest.mark.parametrize("call", ["pinned", "memory", "context", "upload", "execute", "record", "synchronize"])
def test_a_gpu_that_fails_while_loading_is_told_and_let_go_of(trt_bundle: Path, gpu: Gpu, call: str) -> None:
    gpu.fails = (call,)
    with pytest.raises(KDLightError, match=f"CUDA: {call} failed"):
        opened(trt_bundle)
    assert gpu.devices[0].closed
    assert not any(thread.name.startswith("tensorrt") for thread in threading.enumerate())


def test_a_gpu_that_fails_later_is_an_error_of_that_picture(trt_bundle: Path, gpu: Gpu) -> None:
    with opened(trt_bundle) as engine:
        gpu.devices[0]._fails = ("launch",)
        with pytest.raises(KDLightError, match="CUDA: launch failed"):
            engine.run(pictures(1))
        gpu.devices[0]._fails = ()
        assert engine.run(pictures(1)).logits.shape == (1, 2)


@pytest.mark.parametrize(
    "passport", [{"version": "8.6.1"}, {"compute_capability": "8.6"}, {"gpu": "Tesla T4"}, {"onnx_sha256": "0" * 64}]
)
def test_a_foreign_engine_asked_for_by_name_is_refused_before_tensorrt_sees_it(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch, passport: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = add_plan(tiny_bundle(), **passport)
    gpu = give_gpu(monkeypatch, path)
    monkeypatch.setattr(gpu.trt.api, "Runtime", None)
    with pytest.raises(EngineMismatch, match=r"model\.tensorrt-10\.3\.0\.sm87\.engine was built .* it is not loaded"):
        open_engine(open_bundle(path), engine="tensorrt")
    assert gpu.devices[0].closed
    assert main(["verify", str(path), "--engine", "tensorrt"]) == 5
    assert (
        main(["infer", "--source", "scene:crack", "--frames", "1", "--model", str(path), "--engine", "tensorrt"]) == 5
    )
    assert "is not loaded" in capsys.readouterr().err.splitlines()[-1]


def test_a_foreign_engine_is_passed_over_and_told_where_any_will_do(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add_plan(tiny_bundle(), version="8.6.1")
    give_gpu(monkeypatch, path)
    with open_classifier(path) as classifier:
        assert classifier.engine.name == "onnxruntime"
        assert "built for TensorRT 8.6.1, here is 10.3.0" in classifier.origin["fallback"]


def test_an_engine_in_the_cache_comes_before_a_foreign_one_in_the_bundle(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path = add_plan(tiny_bundle(), gpu="Tesla T4")
    give_gpu(monkeypatch, path)
    plan = plan_of(open_bundle(path))
    keep_engine(cached_engine(plan, HERE), plan)
    with open_classifier(path, engine="tensorrt") as classifier:
        assert classifier.verify() < 1e-3


def test_an_edited_passport_in_the_cache_is_refused(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path = add_plan(tiny_bundle(), engine=False)
    give_gpu(monkeypatch, path)
    plan = plan_of(open_bundle(path))
    keep_engine(cached_engine(plan, HERE), plan, driver="11.4")
    assert main(["verify", str(path)]) == 5
    assert "built for the driver's CUDA 11.4, here is 12.6" in capsys.readouterr().err


def plan_of(bundle: Bundle) -> BuildPlan:
    return read_plan(bundle, bundle.manifest.artifacts[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onnx_sha256": "f" * 64}, r"is for another model\.onnx than the bundle holds"),
        ({"engines": ["ghost.engine"]}, r"names ghost\.engine, which the bundle has not"),
        ({"schema": 9}, "has schema 9"),
        ({"precision": "fp4"}, "'precision' is 'fp4'"),
    ],
)
def test_a_plan_that_does_not_fit_its_bundle_is_refused(
    trt_bundle: Path, change: dict[str, object], message: str
) -> None:
    bundle = open_bundle(trt_bundle)
    file = bundle.file_of(bundle.manifest.artifacts[0])
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(BundleError, match=message):
        plan_of(bundle)


def test_bytes_that_tensorrt_refuses_are_told_with_its_reason(
    trt_bundle: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "find", lambda *_: b"damaged")
    with pytest.raises(
        EngineMismatch, match=r"refuses the engine of model\.onnx: Serialization .* the engine is damaged"
    ):
        opened(trt_bundle)
    assert gpu.devices[0].closed


def test_an_engine_of_another_graph_is_refused(trt_bundle: Path, tiny_bundle: Make, tmp_path: Path, gpu: Gpu) -> None:
    del gpu
    other = add_plan(tiny_bundle(("a", "b", "c"), folder=tmp_path / "other"))
    with pytest.raises(BundleError, match=r"logits float32 \[2\].* which is not this bundle's graph"):
        opened(other)
    assert opened(trt_bundle).artifact.format == "tensorrt"


def test_without_a_gpu_the_bundle_answers_through_onnx_runtime_and_says_why(trt_bundle: Path) -> None:
    if tensorrt_module.lack() is None:
        pytest.skip("a GPU is here")
    with open_classifier(trt_bundle, succeed=True) as classifier:
        assert classifier.engine.name == "onnxruntime"
        assert classifier.origin["fallback"].startswith("tensorrt needs ")
        assert classifier.successor is None
    with pytest.raises(EngineNotReady, match="tensorrt needs "):
        open_engine(open_bundle(trt_bundle), engine="tensorrt")


def test_a_machine_without_a_driver_or_tensorrt_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", none)
    monkeypatch.setattr(tensorrt_module, "_there", lambda _: True)
    assert tensorrt_module.lack() == "needs an NVIDIA GPU: there is no driver (libcuda.so.1) on this machine"
    monkeypatch.setattr(tensorrt_module, "_there", lambda name: name == "tensorrt")
    assert tensorrt_module.lack() == "needs pycuda or cuda-python: pip install pycuda"
    monkeypatch.setattr(tensorrt_module, "_there", lambda _: False)
    assert "needs tensorrt (part of JetPack)" in (tensorrt_module.lack() or "")
    with pytest.raises(EngineNotReady, match="neither tensorrt"):
        tensorrt_module.open_trt()


def test_cuda_python_stands_in_for_pycuda_and_tells_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-python is not installed")
    if tensorrt_module.gpu_lack() is None:
        pytest.skip("a GPU is here")
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineNotReady, match=r"no GPU can be used: CUDA: cudaGetDeviceCount failed with .*driver"):
        cuda.open_device()


def test_without_any_way_to_cuda_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycuda", "cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("cuda_pycuda", "cuda_python"):
        monkeypatch.delitem(sys.modules, f"kdlight_edge.engines.{name}", raising=False)
    with pytest.raises(EngineNotReady, match=r"pycuda is not installed; cuda-python is not installed"):
        cuda.open_device()


def test_the_engine_is_loaded_through_the_table_as_every_other(trt_bundle: Path, gpu: Gpu) -> None:
    del gpu
    bundle = open_bundle(trt_bundle)
    with load(bundle, bundle.manifest.artifacts[0], engine="tensorrt") as engine:
        assert engine.name == "tensorrt"
