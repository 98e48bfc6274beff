"""A float ONNX file of ours to 16 bits: weights and arithmetic of every layer but the head and the outlier distance.

The types are written into the graph, so that a strongly typed engine computes what ONNX Runtime computes. The head and
the outlier distance stay in float32: they are a thousandth of the work, their rounding would go straight to the logits,
and sums of squares leave the range of 16 bits. Pixels, 0 to 255, are exact in 16 bits.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdlight_edge.errors import DataError

KINDS = frozenset({"Cast", "Transpose", "Conv", "Relu", "Add"})
"""Nodes of the layers; the head's convolution is told apart by its name."""

FLOAT_OUTPUTS = frozenset({"cam"})

LARGEST = float(np.finfo(np.float16).max)


def onnx_fp16_from_onnx(content: bytes) -> bytes:
    """Return the 16-bit file of a float one.

    Args:
        content: a file of `onnx_from_student`.

    Raises:
        DataError: a weight lies outside the range of 16 bits.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    half: dict[str, str] = {}
    """Tensor in 16 bits to the name that its float32 copy has."""
    nodes: list[onnx.NodeProto] = []
    weights = {entry.name: entry for entry in graph.initializer}
    halved: set[str] = set()
    for node in graph.node:
        if _in_half(node):
            if node.op_type == "Cast":
                node.attribute[0].i = TensorProto.FLOAT16
            halved.update(name for name in node.input if name in weights)
            half[node.output[0]] = f"{node.output[0]}.float"
        else:
            nodes.extend(_casts(node, half, nodes))
        nodes.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_halved(entry) if name in halved else entry for name, entry in weights.items())
    onnx.checker.check_model(model, full_check=True)
    result: bytes = model.SerializeToString()
    return result


def _in_half(node: onnx.NodeProto) -> bool:
    name = node.output[0]
    return node.op_type in KINDS and name not in FLOAT_OUTPUTS and not name.startswith("outlier")


def _casts(node: onnx.NodeProto, half: dict[str, str], nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Let a float32 node read float32 copies of what is in 16 bits; return the casts that are not there yet."""
    made = {other.output[0] for other in nodes}
    new = []
    for place, name in enumerate(node.input):
        if name not in half:
            continue
        node.input[place] = half[name]
        if half[name] not in made:
            new.append(helper.make_node("Cast", [name], [half[name]], name=half[name], to=TensorProto.FLOAT))
    return new


def _halved(entry: onnx.TensorProto) -> onnx.TensorProto:
    value = numpy_helper.to_array(entry)
    if float(np.abs(value).max(initial=0)) > LARGEST:
        raise DataError(f"{entry.name} holds {np.abs(value).max():g}, above the {LARGEST:g} that 16 bits reach")
    return numpy_helper.from_array(value.astype(np.float16), entry.name)
