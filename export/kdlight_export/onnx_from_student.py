"""A trained student to one ONNX file, written node by node: small, readable and the same from every PyTorch version.

Batch norms are folded into their convolutions and the pixel scale into the first one, both exactly. Order of the first
nodes as every engine wants it: Cast (TensorRT takes uint8 nowhere else), Transpose, then arithmetic. Reductions carry
their axes as attributes (opset 17), which every engine since TensorRT 8.5 reads.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from kdlight_edge.manifest import Input
from kdlight_train import finished
from kdlight_train.finished import Finished
from kdlight_train.rounded import EightBits, numbers_of
from kdlight_train.rounding import round_student
from kdlight_train.student import PIXEL_SCALE, Bottleneck, ConvNorm, Student, multiply_adds, parameters

__all__ = ["Finished", "costs", "onnx_from_student", "open_run", "reference", "rounded_onnx", "rounded_to_8_bits"]

OPSET = 17
IR_VERSION = 8
"""The pair that ONNX Runtime 1.14, OpenVINO 2023 and TensorRT 8.6 and everything newer read."""

Logits = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


class Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Keep an array, float32 unless it holds int64, and return its name."""
        array = np.asarray(value)
        kept = array if array.dtype == np.int64 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output and return that output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, layer: ConvNorm, source: str, name: str, *, scale: float = 1.0) -> str:
        """Append a convolution with its batch norm folded in, its weights times ``scale``, and its ReLU."""
        convolution, (weight, bias) = layer.convolution, layer.folded()
        side, stride = convolution.kernel_size[0], convolution.stride[0]
        kernel = self.constant(f"{name}.weight", (weight * scale).numpy())
        output = self.add(
            "Conv",
            [source, kernel, self.constant(f"{name}.bias", bias.numpy())],
            name,
            kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4, group=convolution.groups,
        )  # fmt: skip
        return self.add("Relu", [output], f"{name}.relu") if layer.relu else output


def onnx_from_student(student: Finished, name: str) -> bytes:
    """Return the ONNX file of a finished student.

    Input ``image`` uint8 [N, H, W, 3]; outputs ``logits`` float32 [N, C], ``cam`` float32 [N, C, H / 32, W / 32] whose
    mean over its last two axes is the logit, ``outlier`` float32 [N].
    """
    with torch.no_grad():
        graph = _graph(student)
    classes, spec = len(student.labels), student.input
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", spec.height, spec.width, 3])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]),
                helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["N", classes, *_map_size(spec)]),
                helper.make_tensor_value_info("outlier", TensorProto.FLOAT, ["N"]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kdlight-edge",
    )
    names = dict(enumerate(student.labels))
    facts = {"names": str(names), "imgsz": str([spec.height, spec.width]), "task": "classify", "stride": "32"}
    helper.set_model_props(model, {**facts, "output": "logits", "student": student.student})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _map_size(spec: Input) -> tuple[int, int]:
    """Height and width of the last feature map: five convolutions of stride 2."""
    return spec.height // 32, spec.width // 32


def _graph(student: Finished) -> Graph:
    network = student.network()
    graph = Graph()
    value = graph.add("Cast", ["image"], "cast", to=TensorProto.FLOAT)
    value = graph.add("Transpose", [value], "planes", perm=[0, 3, 1, 2])
    value = graph.conv(network.stem, value, "stem", scale=PIXEL_SCALE)
    for number, layer in enumerate(network.dense):
        value = graph.conv(_conv_norm(layer), value, f"dense{number}")
    for number, block in enumerate(network.deep):
        value = _bottleneck(graph, _block(block), value, f"deep{number}")
    value = graph.conv(network.last, value, "last")
    _answer(graph, network, value)
    _outlier(graph, student, value)
    return graph


def _bottleneck(graph: Graph, block: Bottleneck, source: str, name: str) -> str:
    value = graph.conv(block.widen, source, f"{name}.widen")
    value = graph.conv(block.filter, value, f"{name}.filter")
    value = graph.conv(block.narrow, value, f"{name}.narrow")
    return graph.add("Add", [source, value], f"{name}.sum") if block.adds else value


def _answer(graph: Graph, network: Student, features: str) -> None:
    """Append the linear layer as a 1x1 convolution before the mean: its map is the class activation map."""
    weight = graph.constant("head.weight", network.head.weight.numpy()[:, :, None, None])
    bias = graph.constant("head.bias", network.head.bias.numpy())
    cam = graph.add("Conv", [features, weight, bias], "cam", kernel_shape=[1, 1])
    mean = graph.add("GlobalAveragePool", [cam], "mean")
    graph.add("Flatten", [mean], "logits", axis=1)


def _outlier(graph: Graph, student: Finished, features: str) -> None:
    """Append `kdlight_train.calibrate.OutlierModel.distance` on the mean feature."""
    model = student.outlier
    size = model.mean.shape[0]
    pooled = graph.add("GlobalAveragePool", [features], "pooled")
    mean = graph.constant("outlier.mean", model.mean.reshape(1, size, 1, 1))
    apart = graph.add("Sub", [pooled, mean], "outlier.apart")
    # A matrix product of one row, as a convolution: OpenVINO's product is slow by its own counters, and TensorRT-RTX
    # has none in float32 for Turing (7.5).
    basis = graph.constant("outlier.basis", model.basis.reshape(-1, size, 1, 1))
    found = graph.add("Conv", [apart, basis], "outlier.found", kernel_shape=[1, 1])
    centred = graph.add("Flatten", [apart], "outlier.centred", axis=1)
    inside = graph.add("Flatten", [found], "outlier.inside", axis=1)
    scaled = graph.add("Div", [inside, graph.constant("outlier.scale", model.scale)], "outlier.scaled")
    row = graph.add("Unsqueeze", [scaled, graph.constant("outlier.axis", np.array([1], np.int64))], "outlier.row")
    to_centre = graph.add("Sub", [row, graph.constant("outlier.centres", model.centres)], "outlier.to_centre")
    squares = graph.add("ReduceSumSquare", [to_centre], "outlier.squares", axes=[2], keepdims=0)
    nearest = graph.add("ReduceMin", [squares], "outlier.nearest", axes=[1], keepdims=0)
    whole = graph.add("ReduceSumSquare", [centred], "outlier.whole", axes=[1], keepdims=0)
    known = graph.add("ReduceSumSquare", [inside], "outlier.known", axes=[1], keepdims=0)
    left = graph.add("Relu", [graph.add("Sub", [whole, known], "outlier.rest")], "outlier.left")
    spread = graph.constant("outlier.residual", np.array(model.residual))
    total = graph.add("Add", [nearest, graph.add("Div", [left, spread], "outlier.ratio")], "outlier.total")
    square = graph.add("Div", [total, graph.constant("outlier.size", np.array(float(size)))], "outlier.mean_square")
    if model.planes is not None and model.offsets is not None:
        planes = graph.constant("outlier.plane", model.planes.reshape(-1, size, 1, 1))
        odds = graph.add(
            "Conv",
            [apart, planes, graph.constant("outlier.offset", model.offsets)],
            "outlier.odds",
            kernel_shape=[1, 1],
        )
        positive = graph.add("Relu", [odds], "outlier.positive")
        added = graph.constant("outlier.kinds", np.array([1, 2, 3], np.int64))
        foreign = graph.add("ReduceSum", [positive, added], "outlier.foreign", keepdims=0)
        square = graph.add("Add", [square, foreign], "outlier.square")
    graph.add("Sqrt", [square], "outlier")


def _conv_norm(layer: torch.nn.Module) -> ConvNorm:
    assert isinstance(layer, ConvNorm)  # noqa: S101 - narrows the type of a Sequential's member
    return layer


def _block(layer: torch.nn.Module) -> Bottleneck:
    assert isinstance(layer, Bottleneck)  # noqa: S101 - narrows the type of a Sequential's member
    return layer


def open_run(run: Path) -> Finished:
    """Read the finished student of a training."""
    return finished.load(run)


def costs(student: Finished) -> tuple[int, int]:
    """Return parameters as deployed and multiply-adds of one picture."""
    network = student.network()
    return parameters(network), multiply_adds(network, student.input.height, student.input.width)


def reference(student: Finished) -> Logits:
    """Return the torch student as a function of prepared pictures, uint8 [N, H, W, 3], to compare with."""
    network = student.network()

    def logits(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() * PIXEL_SCALE
            result: npt.NDArray[np.float32] = network(x).numpy()
            return result

    return logits


def rounded_to_8_bits(student: Finished, batch: npt.NDArray[np.uint8]) -> EightBits:
    """Return a student's 8-bit numbers, found without training on calibration pictures, uint8 [n, H, W, 3]."""
    network = student.network()
    rounded = round_student(network, torch.from_numpy(batch).permute(0, 3, 1, 2))
    return numbers_of(rounded, network, "")


def rounded_onnx(student: Finished, eight: EightBits, name: str) -> tuple[bytes, dict[str, npt.NDArray[np.float32]]]:
    """Return a float ONNX file whose weights lie on their grids, and what a step of each is worth in that file."""
    content = onnx_from_student(dataclasses.replace(student, weights=dict(eight.weights)), name)
    return content, {**eight.scales, "stem": eight.scales["stem"] * np.float32(PIXEL_SCALE)}
