"""TensorRT: 16-bit and symmetric 8-bit ONNX files, build plans, and real engines by TensorRT-RTX without a GPU."""

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.engines import tensorrt_plan
from kdlight_edge.engines.tensorrt_build import build, capabilities
from kdlight_edge.engines.tensorrt_module import Trt, open_trt
from kdlight_edge.engines.tensorrt_plan import BuildPlan, Profile, read_plan, write_whole
from kdlight_edge.errors import BundleError, DataError, EngineNotReady, KDLightError, UsageError
from kdlight_edge.golden import golden_picture
from kdlight_edge.passport import read_passport
from kdlight_export.onnx_fp16_from_onnx import onnx_fp16_from_onnx
from kdlight_export.onnx_from_student import onnx_from_student
from kdlight_train.finished import Finished

SIDE = 64


@pytest.fixture(scope="session")
def trt() -> Trt:
    """TensorRT-RTX, which builds for GPUs that are not there."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    return open_trt("tensorrt_rtx")


@pytest.fixture(scope="session")
def exact(make_finished: Callable[..., Finished]) -> bytes:
    """A float ONNX file, as TensorRT is given it."""
    return onnx_from_student(make_finished(), "wall")


@pytest.fixture(scope="session")
def eight(make_finished: Callable[..., Finished], make_eight: Callable[..., bytes]) -> bytes:
    """Its symmetric Q/DQ file."""
    return make_eight(make_finished(), pictures(), symmetric=True)


def pictures() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([golden_picture(seed)[:SIDE, :SIDE] for seed in range(60, 72)])


def answers(content: bytes) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(["logits", "cam", "outlier"], {"image": pictures()}))


def plan_of(content: bytes, precision: str = "fp16") -> BuildPlan:
    del content
    options = ("strongly_typed", "no_tf32")
    return BuildPlan(1, "student.onnx", "0" * 64, precision, "student", SIDE, SIDE, Profile(1, 1, 8), 1 << 26, options)  # type: ignore[arg-type]


def types_of(content: bytes) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    return {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}


def test_there_is_no_matrix_product_which_a_turing_gpu_would_lack(exact: bytes) -> None:
    assert not {"MatMul", "Gemm"} & {node.op_type for node in onnx.load_from_string(exact).graph.node}


def test_sixteen_bits_are_in_every_layer_and_not_in_the_answers(exact: bytes) -> None:
    half = onnx_fp16_from_onnx(exact)
    types = types_of(half)
    layers = {name for name in types if name.startswith(("stem", "dense", "deep", "last")) and ".float" not in name}
    assert {types[name] for name in layers} == {TensorProto.FLOAT16}
    assert len(half) < 0.6 * len(exact)
    model = onnx.load_from_string(half)
    assert [node.op_type for node in model.graph.node[:2]] == ["Cast", "Transpose"]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert {entry.type.tensor_type.elem_type for entry in model.graph.output} == {TensorProto.FLOAT}


def test_sixteen_bits_answer_almost_alike(exact: bytes) -> None:
    for wanted, got in zip(answers(exact), answers(onnx_fp16_from_onnx(exact)), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=0.02, atol=0.02)


def test_a_weight_outside_of_sixteen_bits_is_named(exact: bytes) -> None:
    model = onnx.load_from_string(exact)
    weight = next(entry for entry in model.graph.initializer if entry.name == "stem.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(list(weight.dims), 1e6, np.float32), weight.name))
    with pytest.raises(DataError, match=r"stem\.weight holds 1e\+06, above the 65504"):
        onnx_fp16_from_onnx(model.SerializeToString())


def test_symmetric_eight_bits_have_zero_points_of_zero(eight: bytes, exact: bytes) -> None:
    model = onnx.load_from_string(eight)
    zeros = [entry for entry in model.graph.initializer if entry.name.endswith(".zero")]
    assert zeros
    assert {entry.data_type for entry in zeros} == {TensorProto.INT8}
    assert not any(onnx.numpy_helper.to_array(entry).any() for entry in zeros)
    wanted, got = answers(exact)[0], answers(eight)[0]
    assert np.abs(got - wanted).max() < 0.25 * np.ptp(wanted)


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "12.0"])
def test_a_real_engine_is_built_for_a_gpu_that_is_not_here(
    trt: Trt, exact: bytes, eight: bytes, capability: str
) -> None:
    for content, precision in ((onnx_fp16_from_onnx(exact), "fp16"), (eight, "int8")):
        engine = build(trt, content, plan_of(content, precision), compute_capability=capability)
        assert len(engine) > 10_000


def test_a_capability_that_cannot_be_built_for_is_refused_with_those_that_can(trt: Trt, exact: bytes) -> None:
    assert "8.7" not in capabilities(trt)
    with pytest.raises(UsageError, match=r"--compute-capability 8\.7: TensorRT-RTX [\d.]+ builds .* for 7\.5, 8\.0"):
        build(trt, exact, plan_of(exact), compute_capability="8.7")


def test_an_operator_that_tensorrt_does_not_take_is_told_with_its_node(trt: Trt) -> None:
    graph = helper.make_graph(
        [helper.make_node("Det", ["image"], ["logits"], name="odd")],
        "odd",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N"])],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    with pytest.raises(BundleError, match=r"TensorRT-RTX [\d.]+ does not take student\.onnx: .*Det") as caught:
        build(trt, content, plan_of(content), compute_capability="8.6")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"this is no network", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(trt: Trt, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"does not take student\.onnx: |has inputs {} and outputs \[\]"):
        build(trt, content, plan_of(content), compute_capability="8.6")


def test_an_onnx_file_that_is_not_ours_is_refused(trt: Trt, exact: bytes) -> None:
    other = dataclasses.replace(plan_of(exact), height=128)
    with pytest.raises(BundleError, match=r"\(-1, 64, 64, 3\).*not image \[N, 128, 64, 3\]"):
        build(trt, exact, other, compute_capability="8.6")


def test_without_a_gpu_an_engine_for_this_machine_is_refused(trt: Trt, exact: bytes) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("a GPU is here")
    with pytest.raises(EngineNotReady, match=r"could not build student\.onnx: .+"):
        build(trt, exact, plan_of(exact))


def test_for_a_jetson_the_bundle_holds_a_plan_and_says_what_will_happen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "jetson", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "student.fp16.tensorrt.json: no engine is built on this machine" in said
    assert "in the background, while ONNX Runtime answers" in said
    bundle = open_bundle(out)
    first, *others = bundle.manifest.artifacts
    assert (first.format, first.precision) == ("tensorrt", "fp16")
    assert [one.file for one in others] == ["student.onnx", "student.fp16.onnx"]
    plan = read_plan(bundle, first)
    assert (plan.onnx, plan.precision, plan.height, plan.width) == ("student.fp16.onnx", "fp16", SIDE, SIDE)
    assert plan.flags == ("strongly_typed", "no_tf32", "batch 1/1/8", "workspace 256 MiB")
    assert bundle.manifest.trials is not None
    reasons = {trial.file: trial.reason for trial in bundle.manifest.trials.files}
    assert "built from student.fp16.onnx where it runs" in reasons["student.fp16.tensorrt.json"]
    assert "not raced" in reasons["student.fp16.onnx"]
    times = {trial.file: trial.p50_ms for trial in bundle.manifest.trials.files}
    assert times["student.fp16.onnx"] is None
    assert (times["student.onnx"] or 0) > 0
    half = next(one for one in others if one.precision == "fp16")
    assert half.agreement is not None
    assert half.agreement >= 0.998
    assert main(["verify", str(out)]) == 0


def test_forced_int8_is_what_the_board_builds_first(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "orin-nano", "--int8", "on", "--out", str(out)]) == 0
    artifacts = open_bundle(out).manifest.artifacts
    assert [one.precision for one in artifacts if one.format == "tensorrt"] == ["int8", "fp16"]
    assert artifacts[0].file == "student.symmetric8.tensorrt.json"


def test_engines_built_ahead_of_time_travel_with_their_passports(trt: Trt, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "wall.kdl"
    flags = ["--target", "other", "--int8", "off", "--compute-capability", "8.6", "--compute-capability", "12.0"]
    assert main(["export", str(run), *flags, "--out", str(out)]) == 0
    bundle = open_bundle(out)
    plan = read_plan(bundle, bundle.manifest.artifacts[0])
    assert [name.split(".sm")[1] for name in plan.engines] == ["86.engine", "120.engine"]
    passport = read_passport(out / plan.engines[0])
    assert (passport.kind, passport.version, passport.compute_capability) == ("tensorrt_rtx", trt.version, "8.6")
    assert (passport.gpu, passport.driver, passport.onnx_sha256) == (None, None, plan.onnx_sha256)
    engine = out / plan.engines[0]
    engine.write_bytes(engine.read_bytes()[:-1] + b"?")
    assert main(["verify", str(out)]) == 5


def test_a_capability_nobody_has_leaves_no_bundle(
    trt: Trt, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del trt
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--compute-capability", "3.5", "--out", str(out)]) == 2
    assert "--compute-capability 3.5" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("capability", ["8.7", "3.5", "8.60", ""])
def test_what_cannot_be_built_ahead_is_not_planned_either(
    trt: Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str], capability: str
) -> None:
    del trt
    words = ["export", str(tmp_path / "no-run-yet"), "--compute-capability", "8.6", "--compute-capability", capability]
    assert main([*words, "--plan"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"--compute-capability {capability or repr('')}: TensorRT-RTX" in told.err
    assert main([*words, "--out", str(tmp_path / "wall.kdl")]) == 2


def test_without_tensorrt_rtx_nothing_is_built_ahead_and_the_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdlight_edge.engines.tensorrt_module._there", lambda _: False)
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--compute-capability", "8.6", "--out", str(out)]) == 1
    assert "pip install 'kdlight-edge[tensorrt-rtx]'" in capsys.readouterr().err.splitlines()[-1]
    assert main(["export", str(run), "--target", "jetson", "--out", str(out)]) == 0


def test_half_a_file_never_remains_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache" / "student.engine"
    write_whole(file, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KDLightError, match=r"No space left on device.*make room"):
        write_whole(file, b"new")
    assert [entry.name for entry in file.parent.iterdir()] == ["student.engine"]
    assert file.read_bytes() == b"old"


def test_the_cache_is_where_the_service_manager_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_DIRECTORY", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert tensorrt_plan.cache_folder() == Path("/home/me/.cache/kdlight-edge")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert tensorrt_plan.cache_folder() == Path("/xdg/kdlight-edge")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/kdlight-edge:/other")
    assert tensorrt_plan.cache_folder() == Path("/var/lib/kdlight-edge/cache")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/kdlight-edge")
    assert tensorrt_plan.cache_folder() == Path("/var/cache/kdlight-edge")


def test_other_settings_make_another_engine() -> None:
    plan = plan_of(b"")
    assert dataclasses.replace(plan, profile=Profile(1, 8, 8)).flags != plan.flags
