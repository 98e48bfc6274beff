"""What several tests need: a real bundle with a network of a few numbers, made in a moment."""

import dataclasses
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge import picture
from kdlight_edge.bundle import sha256_of, write_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import open_engine
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Artifact, Card, Golden, Input, Label, Manifest, Part, Provenance, Scans, Thresholds

COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1))
"""The colour (RGB) that each label of a tiny bundle looks for: the first label red, the second green, ..."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that was started in the background ignores Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

GAIN = 12.0
"""Logit of a picture that is wholly of a label's colour, against 0 for black."""


@pytest.fixture(params=["turbo", "OpenCV"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode JPEG with and without the optional package."""
    if request.param == "OpenCV":
        monkeypatch.setattr(picture, "_turbo", lambda: None)
    else:
        pytest.importorskip("simplejpeg")


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return ``make(kilobytes) -> Path``, which mounts a disk of that size."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        disk = tmp_path / f"disk-{len(mounted)}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "-l", disk], check=True)  # a program that is just ending may have a file open


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return ``make(labels, *, size, name, accept, outlier, folder, scans, openvino) -> Path``, which writes NAME.kdl.

    Its network answers by colour: a red picture is the first label (the positive one), a green one the second. Its
    ``outlier`` output is the mean brightness, 0 to 1. With ``openvino`` it holds an IR too, and prefers it.
    """

    def make(
        labels: Sequence[str] = ("crack", "no_crack"),
        *,
        size: int = 32,
        name: str = "tiny",
        accept: float = 0.6,
        outlier: float | None = None,
        folder: Path | None = None,
        scans: Scans | None = None,
        openvino: bool = False,
    ) -> Path:
        files = {"model.onnx": tiny_onnx(len(labels), size)}
        if openvino:
            files = {**tiny_ir(files["model.onnx"]), **files}
        manifest = _manifest(labels, size, name, files, Thresholds(accept, outlier))
        manifest = dataclasses.replace(manifest, scans=scans)
        target = (folder or tmp_path) / f"{name}.kdl"
        # The golden logits come from the engine itself, which needs the bundle on disk: write it twice.
        bundle = write_bundle(target, manifest, files)
        with Classifier(bundle, open_engine(bundle, engine="onnxruntime", threads=1), Settings()) as classifier:
            logits = classifier.outputs(golden_picture(seed) for seed in manifest.golden.seeds).logits
        rows = {artifact.file: tuple(map(tuple, logits.tolist())) for artifact in manifest.artifacts}
        golden = dataclasses.replace(manifest.golden, logits=rows)
        write_bundle(target, dataclasses.replace(manifest, golden=golden), files)
        return target

    return make


def tiny_onnx(labels: int, size: int) -> bytes:
    """Return a network with the real graph's inputs and outputs: one 1x1 convolution and a bias."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.array([COLOURS[c % len(COLOURS)] for c in range(labels)], np.float32) * GAIN / 255
    weight /= np.maximum(1, (weight > 0).sum(axis=1, keepdims=True))
    initializers = [
        numpy_helper.from_array(weight.reshape(labels, 3, 1, 1), "weight"),
        numpy_helper.from_array(np.zeros(labels, np.float32), "bias"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weight"], ["cam"]),
        helper.make_node("GlobalAveragePool", ["cam"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Add", ["flat", "bias"], ["logits"]),
        helper.make_node("ReduceMean", ["planes"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["outlier"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", labels]),
        helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", labels, size, size]),
        helper.make_tensor_value_info("outlier", TensorProto.FLOAT, ["N"]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # older than onnx's newest, so that every supported ONNX Runtime reads it
    content: bytes = model.SerializeToString()
    return content


def tiny_ir(content: bytes) -> dict[str, bytes]:
    """Return the same network as OpenVINO IR."""
    ov = pytest.importorskip("openvino", reason="openvino is not installed")
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(ov.Core().read_model(content), f"{folder}/model.xml", compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in ("model.xml", "model.bin")}


def _artifacts(files: Mapping[str, bytes], thresholds: Thresholds) -> tuple[Artifact, ...]:
    """Describe the files: a ``.bin`` belongs to the ``.xml`` of the same name."""
    found = {name: Part(name, sha256_of(content), len(content)) for name, content in files.items()}
    return tuple(
        Artifact(
            name, "openvino" if name.endswith(".xml") else "onnx", "fp32", part.sha256, part.bytes, 1.0, thresholds,
            parts=(found["model.bin"],) if name.endswith(".xml") else (),
        )
        for name, part in found.items() if not name.endswith(".bin")
    )  # fmt: skip


def _manifest(
    labels: Sequence[str], size: int, name: str, files: Mapping[str, bytes], thresholds: Thresholds
) -> Manifest:
    seeds = (1, 2)
    artifacts = _artifacts(files, thresholds)
    logits = tuple((0.0,) * len(labels) for _ in seeds)
    return Manifest(
        schema_version=1,
        name=name,
        version="1",
        student="tiny",
        parameters=4 * len(labels),
        macs=3 * len(labels) * size * size,
        labels=tuple(Label(text, text.replace("_", " "), positive=i == 0) for i, text in enumerate(labels)),
        input=Input(size, size),
        artifacts=artifacts,
        golden=Golden(seeds, 1e-3, {artifact.file: logits for artifact in artifacts}),
        provenance=Provenance("none", "arithmetic", {}, {}, {}, "2026-01-01", {}),
        card=Card("tests", "anything else", "no data"),
    )
