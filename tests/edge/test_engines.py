"""Every engine keeps the same contract: the fake one, and each real one on a real bundle."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.bundle import Bundle, open_bundle, sha256_of, write_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.engines import ENGINES, Engine, open_engine
from kdlight_edge.errors import BundleError, MissingPackage, UsageError
from kdlight_edge.manifest import Label, Part
from tests.edge.fake_tensorrt import add_plan, give_gpu
from tests.edge.fakes import FakeEngine

Make = Callable[..., Path]
LABELS = 3


@pytest.fixture(params=["fake", *ENGINES])
def engine(request: pytest.FixtureRequest, tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine for pictures of 32x32 and three labels; TensorRT's on a fake GPU."""
    if request.param == "fake":
        return FakeEngine(LABELS)
    if request.param == "tensorrt":
        path = add_plan(tiny_bundle(("red", "green", "blue")))
        give_gpu(monkeypatch, path)
        return open_engine(open_bundle(path), engine="tensorrt")
    bundle = open_bundle(tiny_bundle(("red", "green", "blue"), openvino=request.param == "openvino"))
    return open_engine(bundle, engine=request.param, threads=1)


def pictures(n: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), np.uint8)


def coloured(*rgb: int) -> npt.NDArray[np.uint8]:
    return np.full((1, 32, 32, 3), rgb, np.uint8)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_batch_is_answered_in_the_promised_shapes_and_types(engine: Engine, n: int) -> None:
    with engine:
        logits, cam, outlier = engine.run(pictures(n), cam=True)
    assert cam is not None
    assert logits.shape == (n, LABELS)
    assert cam.shape[:2] == (n, LABELS)
    assert cam.ndim == 4
    assert outlier.shape == (n,)
    assert {logits.dtype, cam.dtype, outlier.dtype} == {np.dtype(np.float32)}


def test_the_map_is_made_only_when_asked_for_and_changes_nothing_else(engine: Engine) -> None:
    with engine:
        short, full = engine.run(pictures(2)), engine.run(pictures(2), cam=True)
    assert short.cam is None
    np.testing.assert_array_equal(short.logits, full.logits)
    np.testing.assert_array_equal(short.outlier, full.outlier)


def test_the_mean_of_the_map_is_the_logit(engine: Engine) -> None:
    with engine:
        answer = engine.run(pictures(3), cam=True)
    assert answer.cam is not None
    np.testing.assert_allclose(answer.cam.mean(axis=(2, 3)), answer.logits, rtol=1e-4)


def test_a_picture_is_answered_alike_alone_and_in_a_batch(engine: Engine) -> None:
    batch = pictures(5)
    with engine:
        together = engine.run(batch).logits
        alone = np.concatenate([engine.run(batch[i : i + 1]).logits for i in range(5)])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


def test_channels_are_read_in_the_order_red_green_blue(engine: Engine) -> None:
    with engine:
        answers = [engine.run(coloured(*rgb)).logits[0] for rgb in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    assert [int(logits.argmax()) for logits in answers] == [0, 1, 2]


def test_threads_of_a_concurrent_engine_do_not_mix_their_answers(engine: Engine) -> None:
    assert engine.concurrent
    batches = [pictures(1 + i % 4) for i in range(24)]
    with engine, ThreadPoolExecutor(4) as pool:
        expected = [engine.run(batch).logits for batch in batches]
        seen = list(pool.map(lambda batch: engine.run(batch).logits, batches))
    for a, b in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_answer_belongs_to_the_caller(engine: Engine) -> None:
    with engine:
        first = engine.run(pictures(1)).logits
        copy = first.copy()
        engine.run(pictures(2))
    np.testing.assert_array_equal(first, copy)


def test_an_engine_names_itself_and_the_file_it_runs(engine: Engine) -> None:
    assert engine.name in {"fake", *ENGINES}
    endings = {"openvino": ".xml", "tensorrt": ".tensorrt.json"}
    assert engine.artifact.file.endswith(endings.get(engine.name, ".onnx"))


@pytest.mark.parametrize(("files", "name"), [({}, "onnxruntime"), ({"openvino": True}, "openvino")])
def test_auto_takes_the_engine_of_the_file_that_the_bundle_prefers(
    tiny_bundle: Make, files: dict[str, bool], name: str
) -> None:
    with open_engine(open_bundle(tiny_bundle(**files))) as engine:
        assert engine.name == name


def test_an_engine_that_is_not_installed_is_passed_over_and_told(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_bundle(openvino=True)
    hide(monkeypatch, "openvino")
    with open_classifier(path) as classifier:
        assert classifier.engine.name == "onnxruntime"
        assert (
            classifier.origin["fallback"] == "openvino is not installed; pip install 'kdlight-edge[openvino]' brings it"
        )
        assert json.loads(json.dumps(classifier.origin)) == classifier.origin
    with pytest.raises(MissingPackage, match=r"pip install 'kdlight-edge\[openvino\]'"):
        open_engine(open_bundle(path), engine="openvino")


def test_an_engine_whose_libraries_do_not_load_is_passed_over_and_told(
    tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_bundle(openvino=True)
    hide(monkeypatch, "openvino", ImportError("libtbb.so.12: cannot open shared object file"))
    with open_classifier(path) as classifier:
        assert classifier.engine.name == "onnxruntime"
        assert "libtbb.so.12" in classifier.origin["fallback"]


def test_a_preferred_engine_that_is_there_has_nothing_to_tell(tiny_bundle: Make) -> None:
    with open_classifier(tiny_bundle(openvino=True)) as classifier:
        assert classifier.engine.name == "openvino"
        assert classifier.origin["fallback"] is None


def test_openvino_comes_without_its_converter_and_telemetry_which_stay_there_for_who_asks() -> None:
    code = """
import importlib.util, sys
import kdlight_edge.engines.openvino
print(sorted(name for name in sys.modules if "telemetry" in name or ".ovc" in name))
print(importlib.util.find_spec("openvino.tools.ovc") is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_an_engine_that_was_asked_for_is_no_fallback(tiny_bundle: Make) -> None:
    with open_classifier(tiny_bundle(openvino=True), engine="onnxruntime") as classifier:
        assert classifier.engine.name == "onnxruntime"
        assert classifier.origin["fallback"] is None


def hide(monkeypatch: pytest.MonkeyPatch, package: str, error: ImportError | None = None) -> None:
    """Let the import of an engine's package fail, as if it were not installed or with an error of its own."""
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"kdlight_edge.engines.{package}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hidden(package, error), *sys.meta_path])


def test_an_unknown_engine_is_an_error_that_lists_the_known_ones(tiny_bundle: Make) -> None:
    with pytest.raises(UsageError, match="--engine abacus is unknown; choose auto, onnxruntime, openvino"):
        open_engine(open_bundle(tiny_bundle()), engine="abacus")


def with_format(bundle: Bundle, kind: str) -> Bundle:
    artifact = dataclasses.replace(bundle.manifest.artifacts[0], format=kind)  # type: ignore[arg-type]
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, artifacts=(artifact,)))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_bundle_without_a_file_for_the_engine_is_refused(tiny_bundle: Make, engine: str) -> None:
    bundle = with_format(open_bundle(tiny_bundle()), "tensorrt")
    with pytest.raises(BundleError, match=f"holds tensorrt and nothing that --engine {engine} runs"):
        open_engine(bundle, engine=engine)


def test_the_formats_of_a_bundle_that_an_engine_cannot_run_are_named_once_each(tiny_bundle: Make) -> None:
    bundle = open_bundle(tiny_bundle(openvino=True))
    several = (*bundle.manifest.artifacts, bundle.manifest.artifacts[-1])
    bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, artifacts=several))
    with pytest.raises(BundleError, match="holds openvino, onnx and nothing that --engine tensorrt runs"):
        open_engine(bundle, engine="tensorrt")


def test_a_missing_package_names_the_extra_that_brings_it(tiny_bundle: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(tiny_bundle())
    hide(monkeypatch, "onnxruntime")
    with pytest.raises(MissingPackage, match=r"onnxruntime is not installed; pip install 'kdlight-edge\[runtime\]'"):
        open_engine(bundle)


class Hidden:
    """An import hook of an environment in which a package was never installed, or is broken."""

    def __init__(self, package: str, error: ImportError | None) -> None:
        self._package, self._error = package, error

    def find_spec(self, name: str, *_: object) -> None:
        """Fail as the import system does at the end of its search."""
        if name == self._package:
            raise self._error or ModuleNotFoundError(f"No module named {name!r}", name=name)


def replace_model(path: Path, content: bytes, **changes: object) -> Bundle:
    """Write the bundle anew with other bytes as its model, sealed correctly."""
    manifest = open_bundle(path).manifest
    artifact = dataclasses.replace(manifest.artifacts[0], sha256=sha256_of(content), bytes=len(content))
    manifest = dataclasses.replace(manifest, artifacts=(artifact,), **changes)  # type: ignore[arg-type]
    return write_bundle(path, manifest, {"model.onnx": content})


def test_a_file_that_is_no_network_is_refused_in_one_line(tiny_bundle: Make) -> None:
    bundle = replace_model(tiny_bundle(), b"this is no network")
    with pytest.raises(BundleError, match=r"ONNX Runtime [\d.]+ does not take model\.onnx: ") as caught:
        open_engine(bundle)
    assert "\n" not in str(caught.value)


def test_a_network_with_another_input_size_is_refused(tiny_bundle: Make, tmp_path: Path) -> None:
    other = (tiny_bundle(size=48, folder=tmp_path / "other") / "model.onnx").read_bytes()
    bundle = replace_model(tiny_bundle(), other)
    with pytest.raises(BundleError, match=r"\[48, 48, 3\].* not image uint8 \[N, 32, 32, 3\]"):
        open_engine(bundle)


def test_a_network_with_another_number_of_labels_is_refused(tiny_bundle: Make, tmp_path: Path) -> None:
    path = tiny_bundle()
    other = (tiny_bundle(("a", "b", "c"), folder=tmp_path / "other") / "model.onnx").read_bytes()
    bundle = replace_model(path, other)
    assert bundle.manifest.labels[0] == Label("crack", "crack", positive=True)
    with pytest.raises(BundleError, match=r"model\.onnx answers with 3 logits where the manifest has 2 labels"):
        open_engine(bundle)


def test_a_network_with_foreign_inputs_and_outputs_is_refused(tiny_bundle: Make) -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 32])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    bundle = replace_model(tiny_bundle(), model.SerializeToString())
    with pytest.raises(BundleError, match=r"has inputs {'x'.*and outputs \['y'\], not image uint8"):
        open_engine(bundle)


def replace_ir(path: Path, xml: bytes, weights: bytes) -> Bundle:
    """Write a bundle anew with other bytes as its IR, sealed correctly."""
    manifest = open_bundle(path).manifest
    part = Part("model.bin", sha256_of(weights), len(weights))
    artifact = dataclasses.replace(manifest.artifacts[0], sha256=sha256_of(xml), bytes=len(xml), parts=(part,))
    manifest = dataclasses.replace(manifest, artifacts=(artifact,))
    return write_bundle(path, manifest, {"model.xml": xml, "model.bin": weights})


def test_an_ir_that_is_no_network_is_refused_in_one_line(tiny_bundle: Make) -> None:
    bundle = replace_ir(tiny_bundle(openvino=True), b"<net>this is no network</net>", b"")
    with pytest.raises(BundleError, match=r"OpenVINO [\d.]+.* does not take model\.xml: ") as caught:
        open_engine(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"size": 48}, r"\[48, 48, 3\].* not image uint8 \[N, 32, 32, 3\]"),
        ({"labels": ("a", "b", "c")}, r"model\.xml answers with 3 logits where the manifest has 2 labels"),
    ],
)
def test_an_ir_that_is_not_what_the_manifest_says_is_refused(
    tiny_bundle: Make, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    foreign = tiny_bundle(openvino=True, folder=tmp_path / "other", **other)
    files = [(foreign / name).read_bytes() for name in ("model.xml", "model.bin")]
    bundle = replace_ir(tiny_bundle(openvino=True), *files)
    with pytest.raises(BundleError, match=message):
        open_engine(bundle)


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(b"other")])
def test_a_part_that_is_missing_or_changed_is_refused(tiny_bundle: Make, spoil: Callable[[Path], None]) -> None:
    path = tiny_bundle(openvino=True)
    spoil(path / "model.bin")
    with pytest.raises(BundleError, match=r"lacks its file model\.bin|model\.bin was changed after export"):
        open_bundle(path)
