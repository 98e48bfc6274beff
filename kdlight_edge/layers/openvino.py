"""What OpenVINO executes, from its runtime graph and its own counters."""

import math
import statistics
from typing import Any

import numpy as np

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines.openvino import compile_for, input_of, settings_of
from kdlight_edge.golden import golden_picture
from kdlight_edge.layers import PRECISIONS, RUNS, Layer
from kdlight_edge.manifest import Artifact
from kdlight_edge.prepare import prepare

PRODUCTS = frozenset({"Convolution", "GroupConvolution", "MatMul"})


def layers(bundle: Bundle, artifact: Artifact, *, threads: int = 1) -> list[Layer]:
    """Run a golden picture with the counters on, and read the graph as it was compiled for this processor."""
    compiled = compile_for(bundle, artifact, {**settings_of(threads), "PERF_COUNT": True})
    source = input_of(bundle, artifact)
    batch = np.ascontiguousarray(prepare(golden_picture(1), bundle.manifest)[np.newaxis])
    request = compiled.create_infer_request()
    times: dict[str, list[float]] = {}
    for run in range(RUNS + 1):
        request.infer({0: batch})
        for entry in request.profiling_info if run else ():
            if entry.status.name == "EXECUTED":
                times.setdefault(entry.node_name, []).append(entry.real_time.total_seconds() * 1e6)
    nodes = {node.get_friendly_name(): node for node in source.get_ordered_ops()}
    return [
        _layer(node, nodes, statistics.median(times[node.get_friendly_name()]))
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.get_friendly_name() in times
    ]


def _layer(node: Any, nodes: dict[str, Any], microseconds: float) -> Layer:
    told = {key: str(value.astype(str) if hasattr(value, "astype") else value) for key, value in node.rt_info.items()}
    # What the plugin fused into one step: names of our graph, in their order.
    members = [nodes[name] for name in told.get("originalLayersNames", "").split(",") if name in nodes]
    products = [member for member in members if member.get_type_name() in PRODUCTS]
    primitive = told.get("primitiveType", "")
    kernel, _, suffix = primitive.rpartition("_")
    precision = PRECISIONS.get(suffix.lower(), PRECISIONS.get(told.get("runtimePrecision", ""), suffix))
    kind = f"{told.get('layerType', '')} {kernel}".removesuffix(" unknown")
    size = sum(_weights(member, 1) for member in products)
    return Layer(node.get_friendly_name(), kind, precision, size, sum(map(_macs, products)), microseconds)


def _macs(node: Any) -> int:
    """Return the multiply-adds of a product of our graph."""
    output, weight = list(node.get_output_shape(0)), list(node.get_input_shape(1))
    if node.get_type_name() == "MatMul":
        return int(math.prod(output) * node.get_input_shape(0)[-1])
    apart = 2 if node.get_type_name() == "GroupConvolution" else 1  # [groups, out, in, h, w] or [out, in, h, w]
    return int(math.prod(output) * math.prod(weight[apart:]))


def _weights(node: Any, first: int) -> int:
    """Return the bytes of the constants behind a node's inputs from ``first`` on."""
    sources = [node.input_value(index).get_node() for index in range(first, node.get_input_size())]
    own = sum(int(source.get_data().nbytes) for source in sources if source.get_type_name() == "Constant")
    return own + sum(_weights(source, 0) for source in sources if source.get_type_name() != "Constant")
