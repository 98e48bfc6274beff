"""A TensorRT engine that is built beside a run and takes over once it is proved: on a fake GPU."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import open_engine, tensorrt_module
from kdlight_edge.engines.tensorrt_plan import BuildPlan, cached_engine, read_plan
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.successor import Successor
from tests.edge.fake_tensorrt import HERE, Gpu, add_plan, give_gpu, keep_engine

Make = Callable[..., Path]

# A builder that takes its time: the engine that the fake GPU knows appears in the cache when the test says so.
WAIT = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"


def plan_of(bundle: Bundle) -> BuildPlan:
    return read_plan(bundle, bundle.manifest.artifacts[0])


def frame() -> Frame:
    return Frame(np.full((32, 32, 3), 128, np.uint8), Moment.now(), "test", 0)


def test_the_new_engine_takes_over_between_two_pictures_once_it_is_proved(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path, go = add_plan(tiny_bundle(), engine=False), tmp_path / "go"
    give_gpu(monkeypatch, path)
    monkeypatch.setattr("kdlight_edge.successor.lack", lambda: None)
    monkeypatch.setattr("kdlight_edge.successor.build_command", lambda *_: [sys.executable, "-c", WAIT, str(go)])
    with open_classifier(path, succeed=True) as classifier:
        successor = classifier.successor
        assert successor is not None
        before = classifier.classify(frame())
        assert classifier.origin["engine"] == "onnxruntime"
        assert "no TensorRT engine of model.onnx was built for this Fake GPU yet" in classifier.origin["fallback"]
        plan = plan_of(classifier.bundle)
        keep_engine(cached_engine(plan, HERE), plan)
        go.touch()
        successor.wait()
        assert classifier.origin["engine"] == "onnxruntime"
        after = classifier.classify(frame())
        assert (classifier.origin["engine"], classifier.origin["fallback"]) == ("tensorrt", None)
        assert after.label == before.label
        assert classifier.verify() < 1e-3
    said = capsys.readouterr().err
    assert "it is built in the background, onnxruntime answers until then" in said
    assert "tensorrt fp32 takes over from onnxruntime: its golden pictures passed" in said


def test_a_new_engine_that_answers_differently_never_takes_over(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path = add_plan(tiny_bundle())
    gpu = give_gpu(monkeypatch, path, off=0.5)
    bundle = open_bundle(path)
    said: list[str] = []
    with Classifier(bundle, open_engine(bundle, engine="onnxruntime"), Settings()) as classifier:
        artifact = bundle.manifest.artifacts[0]
        successor = Successor(
            bundle, artifact, classifier.prove, said.append, build=lambda *_: [sys.executable, "-c", ""]
        )
        successor.wait()
        assert successor.take() is None
        successor.close()
    assert re.match(r"no TensorRT engine takes over: tensorrt answers the golden pictures .* off by 0\.5", said[0])
    assert gpu.devices[0].closed


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('a log'); sys.exit('TensorRT 10.3.0 does not take it: why')", "does not take it: why"),
        ("import os; os.kill(os.getpid(), 11)", "the builder was ended by signal 11"),
    ],
)
def test_a_builder_that_fails_or_crashes_is_told_and_onnx_runtime_goes_on(
    trt_bundle: Path, gpu: Gpu, program: str, message: str
) -> None:
    del gpu
    said: list[str] = []
    bundle = open_bundle(trt_bundle)
    artifact = bundle.manifest.artifacts[0]
    successor = Successor(
        bundle, artifact, lambda _: None, said.append, build=lambda *_: [sys.executable, "-c", program]
    )
    successor.wait()
    assert successor.take() is None
    (line,) = said
    assert line.startswith("no TensorRT engine takes over: ")
    assert message in line
    successor.close()


def test_a_run_that_ends_first_ends_the_builder(trt_bundle: Path, tmp_path: Path) -> None:
    said: list[str] = []
    bundle = open_bundle(trt_bundle)
    artifact = bundle.manifest.artifacts[0]
    never = [sys.executable, "-c", WAIT, str(tmp_path / "never")]
    successor = Successor(bundle, artifact, lambda _: None, said.append, build=lambda *_: never)
    successor.close()
    assert said == []
    assert successor.take() is None


def test_the_builder_on_a_machine_without_a_gpu_says_so_in_one_line(
    trt_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if tensorrt_module.lack() is None:
        pytest.skip("a GPU is here")
    bundle = open_bundle(trt_bundle)
    said: list[str] = []
    successor = Successor(bundle, bundle.manifest.artifacts[0], lambda _: None, said.append)
    successor.wait()
    assert len(said) == 1
    assert re.match(
        r"no TensorRT engine takes over: (neither tensorrt|no GPU can be used|CUDA cannot be reached)", said[0]
    )
    assert capfd.readouterr().out == ""
    successor.close()


def test_an_engine_asked_for_by_name_is_built_first(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path = add_plan(tiny_bundle(), engine=False)
    give_gpu(monkeypatch, path)
    monkeypatch.setattr("kdlight_edge.successor.lack", lambda: None)

    def build(bundle: Bundle) -> None:
        plan = plan_of(bundle)
        keep_engine(cached_engine(plan, HERE), plan)

    monkeypatch.setattr("kdlight_edge.classifier.build_now", build)
    with open_classifier(path, engine="tensorrt") as classifier:
        assert classifier.origin["engine"] == "tensorrt"
