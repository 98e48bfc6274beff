"""An ONNX file of ours to OpenVINO IR, with what OpenVINO Model API and Model Server want to know written into it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import openvino
from openvino import opset13
from openvino._offline_transformations import apply_moc_transformations

from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import Input, Label

GRAPH_NAMES = frozenset({"image", "logits", "cam", "outlier"})
"""Tensors that are found by their names."""

UNNAMED = frozenset({"Const", "Convert", "FakeQuantize", "Multiply", "Reshape"})
"""Kinds of layer whose names nobody reads: they vanish into others when the graph is compiled."""

USUAL = {"auto_broadcast": "numpy", "auto_pad": "explicit"}
"""What OpenVINO takes where nothing is said."""

BIASED = "/WithoutBiases"
"""End of a convolution's name whose bias is a layer of its own, which has the name alone."""

WORTH_HALVING = 1024
"""Bytes of a constant above which half of them is more than the further layer takes in the XML."""


def openvino_from_onnx(content: bytes, name: str, labels: Sequence[Label], spec: Input) -> dict[str, bytes]:
    """Return the files of the IR: ``NAME.xml``, its graph, and ``NAME.bin``, its weights.

    Float weights are stored in 16 bits and computed in 32; the 8-bit weights of a Q/DQ file stay 8-bit.

    Args:
        content: the ONNX file, float or Q/DQ.
        name: of the files, without extension.
        labels: of the bundle, in the order of the logits.
        spec: the bundle's input.

    Raises:
        BundleError: OpenVINO does not take the file, or there is no room for what it makes of it.
    """
    with tempfile.TemporaryDirectory(prefix="kdlight-openvino-") as folder:
        target = Path(folder) / f"{name}.xml"
        try:
            # What `openvino.convert_model` does with an ONNX file, without its telemetry, which asks and calls home.
            model = openvino.Core().read_model(content)
            apply_moc_transformations(model, cf=False, smart_reshape=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"OpenVINO {openvino.__version__} does not take {name}: {reason}") from error
        for key, value in model_info(labels, spec).items():
            model.set_rt_info(value, ["model_info", key])
        _share_constants(model)
        _halve_constants(model)
        try:
            openvino.save_model(model, target, compress_to_fp16=True)
        except RuntimeError as error:
            # Its streams say no more than that they failed; the folder's own name is nobody's business in a manifest.
            raise BundleError("OpenVINO could not write its files: free some room, or set TMPDIR") from error
        weights = target.with_suffix(".bin")
        return {target.name: _compact(target.read_bytes()), weights.name: weights.read_bytes()}


def model_info(labels: Sequence[Label], spec: Input) -> dict[str, str]:
    """Return the keys of ``rt_info/model_info`` by which OpenVINO Model API builds a classifier.

    Its resize is not ours: what it answers is near, and `kdlight_edge.prepare` is the truth.
    """
    resize = {"squash": "standard", "fit": "fit_to_window_letterbox", "crop": "crop"}[spec.resize]
    return {
        "model_type": "Classification",
        "task_type": "classification",
        # A blank parts the labels there, so none may hold one.
        "labels": " ".join(label.id.replace(" ", "_") for label in labels),
        "multilabel": "False",
        "output_raw_scores": "True",
        "topk": str(min(5, len(labels))),
        "resize_type": resize,
        "orig_width": str(spec.width),
        "orig_height": str(spec.height),
    }


def _share_constants(model: Any) -> None:
    """Let equal constants be one: the four limits of a rounding step are two numbers, and zero is among them."""
    first: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            key = (str(node.get_element_type()), tuple(node.get_output_shape(0)), node.get_data().tobytes())
            output = first.setdefault(key, node.output(0))
            for reader in node.output(0).get_target_inputs() if output is not node.output(0) else ():
                reader.replace_source_output(output)


def _halve_constants(model: Any) -> None:
    """Store numbers in 16 bits that 16 bits hold exactly: a product whose weights the ONNX file has in 16 bits."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32:
            continue
        values = node.get_data()
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        if values.nbytes >= WORTH_HALVING and np.array_equal(short.astype(np.float32), values):
            stored = opset13.constant(short, name=node.get_friendly_name())
            wide = opset13.convert(stored, "f32")
            for reader in list(node.output(0).get_target_inputs()):
                reader.replace_source_output(wide.output(0))


def _compact(text: bytes) -> bytes:
    """Return the XML of an IR at half of its size.

    What goes is what OpenVINO finds out again when it reads a graph: the shapes between layers, the precision that a
    layer is given by the one before it, the names of constants and of tensors that are neither input nor output, what
    a layer does unless told otherwise, the metadata of the ONNX file (the manifest has it), and the blanks between and
    in tags and between numbers.
    """
    root = ET.fromstring(text)  # noqa: S314 - OpenVINO wrote it a moment ago
    _shorten_names(root.findall("layers/layer"))
    for told in root.findall("rt_info/framework"):
        root.find("rt_info").remove(told)  # type: ignore[union-attr] # it was found there
    for data in root.iterfind("layers/layer/data"):
        for key, value in list(data.attrib.items()):
            if USUAL.get(key) == value:
                del data.attrib[key]
            else:
                data.set(key, value.replace(", ", ","))
    for port in root.iterfind("layers/layer/input/port"):
        port.attrib.pop("precision", None)
    for port in root.iterfind("layers/layer/*/port"):
        for side in list(port):
            port.remove(side)
        if port.get("names") not in GRAPH_NAMES:
            port.attrib.pop("names", None)
    for tag in root.iter():
        tag.text = tag.tail = None
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)).replace(b" />", b"/>")


def _shorten_names(layers: list[ET.Element]) -> None:
    """Let a convolution have the name of what it was together with its bias, and the bias and constants a number."""
    names = [layer.get("name", "") for layer in layers]
    biased = {name.removesuffix(BIASED) for name in names if name.endswith(BIASED)}
    for layer, name in zip(layers, names, strict=True):
        unread = layer.get("type") in UNNAMED or name in biased
        layer.set("name", layer.get("id", "") if unread else name.removesuffix(BIASED))
