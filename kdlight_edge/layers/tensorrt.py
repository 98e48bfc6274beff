"""What TensorRT is given to execute: the strongly typed network that its own parser makes of the ONNX file.

In such a network every layer runs in the type that it has there, so the precisions hold for every engine built from it;
the builder only fuses. A machine with TensorRT or TensorRT-RTX and without a GPU can tell so much. Times it cannot.
"""

import math
from typing import Any

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines.tensorrt_build import parse
from kdlight_edge.engines.tensorrt_module import open_trt
from kdlight_edge.engines.tensorrt_plan import read_plan
from kdlight_edge.layers import Layer
from kdlight_edge.manifest import Artifact

TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "UINT8": "uint8", "INT64": "int64"}
"""TensorRT's names of types to the manifest's."""

SIZES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}

SILENT = frozenset({"CONSTANT"})
"""Kinds that are data and no step."""


def layers(bundle: Bundle, artifact: Artifact, *, threads: int = 1) -> list[Layer]:
    """Let TensorRT's parser read the plan's ONNX file; ``threads`` says nothing to a GPU.

    Raises:
        EngineNotReady: no TensorRT is installed.
        BundleError: it does not take the file.
    """
    del threads
    plan = read_plan(bundle, artifact)
    trt = open_trt()
    parsed = parse(trt, (bundle.path / plan.onnx).read_bytes(), plan)
    every = [parsed.network.get_layer(place) for place in range(parsed.network.num_layers)]
    made_by = {layer.get_output(place).name: layer for layer in every for place in range(layer.num_outputs)}
    return [_layer(trt.api, layer, made_by) for layer in every if layer.type.name not in SILENT]


def _layer(api: Any, layer: Any, made_by: dict[str, Any]) -> Layer:
    kind, source = layer.type.name, layer.get_input(0)
    precision = _type(source.dtype if source is not None else layer.get_output(0).dtype)
    weights = macs = 0
    if kind == "CONVOLUTION":
        read = [layer.get_input(place) for place in range(2)]
        makers = [made_by[tensor.name].type.name for tensor in read if tensor is not None and tensor.name in made_by]
        if makers == ["DEQUANTIZE", "DEQUANTIZE"]:
            precision = "int8"  # the builder makes one 8-bit convolution of the two and what stands between
        weights, macs = _costs(api, layer)
    return Layer(layer.name, kind.lower(), precision, weights * SIZES.get(precision, 4), macs, 0.0)


def _costs(api: Any, layer: Any) -> tuple[int, int]:
    """Return how many weights a convolution has, and its multiply-adds for one picture."""
    inputs, output = layer.get_input(0).shape[1], tuple(layer.get_output(0).shape)
    layer.__class__ = api.IConvolutionLayer  # how its Python names the kind of a layer that it hands out
    per_value = inputs // layer.num_groups * math.prod(layer.kernel_size_nd)
    return layer.num_output_maps * per_value, math.prod(output[1:]) * per_value


def _type(dtype: Any) -> str:
    name: str = dtype.name
    return TYPES.get(name, name.lower())
