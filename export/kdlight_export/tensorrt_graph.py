"""What a graph of ours needs for every GPU: TensorRT-RTX has no float32 matrix product for Turing (7.5)."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def tensorrt_graph(content: bytes) -> bytes:
    """Return a file of `onnx_from_student` whose matrix product is a 1x1 convolution over a map of one pixel.

    The sums are the same. Turing has convolutions in float32, and every other GPU takes them as well.
    """
    model = onnx.load_from_string(content)
    weights = {entry.name: entry for entry in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.extend(_convolution(node, weights, model.graph) if node.op_type == "MatMul" else [node])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    result: bytes = model.SerializeToString()
    return result


def _convolution(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Return [N, F] x [F, K] as nodes: to [N, F, 1, 1], convolve to [N, K, 1, 1], back to [N, K]."""
    source, name, output = node.input[0], node.input[1], node.output[0]
    kernel = np.ascontiguousarray(numpy_helper.to_array(weights[name]).T[:, :, None, None])
    weights[name].CopyFrom(numpy_helper.from_array(kernel, name))
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), f"{output}.sides"))
    before, after = f"{output}.pixel", f"{output}.map"
    return [
        helper.make_node("Unsqueeze", [source, f"{output}.sides"], [before], name=before),
        helper.make_node("Conv", [before, name], [after], name=after, kernel_shape=[1, 1]),
        helper.make_node("Squeeze", [after, f"{output}.sides"], [output], name=output),
    ]
