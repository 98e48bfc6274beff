"""An ONNX file of ours to OpenVINO IR, with what OpenVINO Model API and Model Server want to know written into it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import openvino
from openvino._offline_transformations import apply_moc_transformations

from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import Input, Label


def openvino_from_onnx(content: bytes, name: str, labels: Sequence[Label], spec: Input) -> dict[str, bytes]:
    """Return the files of the IR: ``NAME.xml``, its graph, and ``NAME.bin``, its weights.

    Float weights are stored in 16 bits and computed in 32; the 8-bit weights of a Q/DQ file stay 8-bit.

    Args:
        content: the ONNX file, float or Q/DQ.
        name: of the files, without extension.
        labels: of the bundle, in the order of the logits.
        spec: the bundle's input.

    Raises:
        BundleError: OpenVINO does not take the file.
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
        openvino.save_model(model, target, compress_to_fp16=True)
        weights = target.with_suffix(".bin")
        return {target.name: _without_indents(target.read_bytes()), weights.name: weights.read_bytes()}


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


def _without_indents(text: bytes) -> bytes:
    """Return XML without the blanks and line ends between its tags: a fifth of the file."""
    return b"".join(line.lstrip() for line in text.splitlines())
