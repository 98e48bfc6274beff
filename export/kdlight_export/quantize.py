"""A float ONNX file of ours to INT8 with explicit Q/DQ: which layer is 8-bit can be read off the graph.

Weights are symmetric int8, one scale a channel; feature maps are uint8, one scale a tensor: zero point 0 after a ReLU
and 128 where values are signed. TensorRT knows symmetric int8 only, and gets files of its own. Biases, the class
activation map and the outlier distance stay in float; the directions of the latter, a fifteenth of the file, are stored
in 16 bits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from kdlight_train.eight_bits import SIGNED_STEPS, UNSIGNED_STEPS, WEIGHT_STEPS, ZERO, Range

PIXELS = Range(255.0, signed=False)
"""What the network's input spans: its 8-bit numbers are the pixels themselves."""

Scales = Mapping[str, npt.NDArray[np.float32]]

HALF_WEIGHTS = frozenset({"outlier.found"})
"""Products whose weights are stored in 16 bits and computed in 32."""

FLOAT_OUTPUTS = frozenset({"cam"})
"""Convolutions that are kept in float: the head is a thousandth of the work, and its rounding goes to the logits."""


def quantize(
    content: bytes, ranges: Mapping[str, Range], scales: Scales, *, stem: bool, symmetric: bool = False
) -> bytes:
    """Return the INT8 file of a float one.

    Args:
        content: a file of `onnx_from_student`.
        ranges: of every feature map that becomes 8-bit, by its name in the graph.
        scales: convolution to the worth of one step of its weights, float32 [out].
        stem: whether the first convolution is 8-bit too. OpenVINO is faster with it; ONNX Runtime is faster without,
            because three channels fill none of its 8-bit kernels.
        symmetric: whether feature maps are int8 with zero point 0, the only form that TensorRT takes. Its first
            convolution is best left in float: in int8 the pixels would lose a bit.
    """
    model = onnx.load_from_string(content)
    spans = dict(ranges)
    if stem:
        spans["planes"] = PIXELS
    rewrite = _Rewrite(model.graph, spans, scales, symmetric=symmetric)
    for node in list(model.graph.node):
        rewrite.take(node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(rewrite.nodes)
    model.graph.initializer.extend(rewrite.constants_in_use())
    onnx.checker.check_model(model, full_check=True)
    result: bytes = model.SerializeToString()
    return result


class _Rewrite:
    """The 8-bit graph under construction."""

    def __init__(self, graph: onnx.GraphProto, ranges: Mapping[str, Range], scales: Scales, *, symmetric: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._ranges, self._scales = ranges, scales
        self._symmetric = symmetric
        self._weights = {entry.name: entry for entry in graph.initializer}
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[str, str] = {}
        """Float tensor to the one that has been through 8 bits."""

    def take(self, node: onnx.NodeProto) -> None:
        """Append a node, its inputs and weights through 8 bits where they have them, and its output's pair."""
        output = node.output[0]
        node.input[:] = [self._known.get(name, name) for name in node.input]
        if node.op_type == "Conv" and node.input[0] in self._known.values() and output not in FLOAT_OUTPUTS:
            node.input[1] = self._weight(node.input[1])
        elif output in HALF_WEIGHTS:
            node.input[1] = self._half(node.input[1])
        self.nodes.append(node)
        if output in self._ranges:
            span = self._ranges[output]
            scale = span.limit / (SIGNED_STEPS if span.signed or self._symmetric else UNSIGNED_STEPS)
            zero = np.int8(0) if self._symmetric else np.uint8(ZERO if span.signed else 0)
            self._known[output] = self._pair(output, scale, zero)

    def constants_in_use(self) -> list[onnx.TensorProto]:
        """Return what the nodes read, the float weights that became 8-bit left out."""
        read = {name for node in self.nodes for name in node.input}
        return [entry for entry in [*self._weights.values(), *self._constants] if entry.name in read]

    def _pair(self, source: str, scale: float, zero: np.uint8 | np.int8) -> str:
        inputs = [self._constant(f"{source}.scale", np.float32(scale)), self._constant(f"{source}.zero", zero)]
        self._add("QuantizeLinear", [source, *inputs], f"{source}.q")
        return self._add("DequantizeLinear", [f"{source}.q", *inputs], f"{source}.dq")

    def _weight(self, name: str) -> str:
        """Round a convolution's weights, float32 [out, in, h, w], with one scale an output channel."""
        weight, scale = numpy_helper.to_array(self._weights[name]), self._scales[name.removesuffix(".weight")]
        steps = np.round(weight / scale[:, None, None, None])
        rounded = np.clip(steps, -WEIGHT_STEPS, WEIGHT_STEPS).astype(np.int8)
        inputs = [
            self._constant(f"{name}.q", rounded),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero", np.zeros(len(scale), np.int8)),
        ]
        return self._add("DequantizeLinear", inputs, f"{name}.dq", axis=0)

    def _half(self, name: str) -> str:
        """Store a matrix in 16 bits and compute with it in 32."""
        stored = self._constant(f"{name}.half", numpy_helper.to_array(self._weights[name]).astype(np.float16))
        return self._add("Cast", [stored], f"{name}.single", to=onnx.TensorProto.FLOAT)

    def _constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
