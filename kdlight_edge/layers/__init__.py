"""What an engine really executes of a file: each layer with its precision, bytes, multiply-adds and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdlight_edge.late import import_late

if TYPE_CHECKING:
    from kdlight_edge.bundle import Bundle
    from kdlight_edge.manifest import Artifact

INSPECTORS = {
    "onnxruntime": "kdlight_edge.layers.onnxruntime",
    "openvino": "kdlight_edge.layers.openvino",
    "tensorrt": "kdlight_edge.layers.tensorrt",
}
"""Engine to the module that knows what it executes: ``layers(bundle, artifact, threads=1) -> list[Layer]``."""

RUNS = 50
"""Pictures that the times are medians of."""

PRECISIONS = {
    "f32": "fp32", "float": "fp32", "f16": "fp16", "float16": "fp16", "bf16": "bf16",
    "i8": "int8", "u8": "int8", "int8": "int8", "uint8": "int8",
}  # fmt: skip
"""What engines call a type to what the manifest calls it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the engine, in the order of execution; what the engine fused is one."""

    name: str
    """As the engine calls it; of our graph's names wherever the engine kept them."""
    kind: str
    """The engine's kernel."""
    precision: str
    """``int8``, ``fp16``, ``bf16`` or ``fp32`` of its arithmetic; another type's name where there is none."""
    bytes: int
    """Of its weights, as the engine reads them."""
    macs: int
    """Multiply-adds of its convolution or matrix product for one picture; the engine's padding of channels included."""
    microseconds: float
    """Median time of one picture, measured by the engine itself, which costs some of it; 0 where it told none."""


def layers_of(bundle: "Bundle", artifact: "Artifact", *, engine: str, threads: int = 1) -> list[Layer]:
    """Let an engine tell what it executes of a file.

    Raises:
        MissingPackage: the engine is not installed.
        EngineNotReady: TensorRT is not there.
        BundleError: it does not take the file.
    """
    module = import_late(INSPECTORS[engine], engine)
    found: list[Layer] = module.layers(bundle, artifact, threads=threads)
    return found


def shares(layers: Sequence[Layer]) -> dict[str, float]:
    """Return the share of the multiply-adds that is executed in each precision, the largest first."""
    total = sum(layer.macs for layer in layers) or 1
    sums: dict[str, int] = {}
    for layer in layers:
        if layer.macs:
            sums[layer.precision] = sums.get(layer.precision, 0) + layer.macs
    return {name: count / total for name, count in sorted(sums.items(), key=lambda entry: -entry[1])}
