"""What will be built for a target, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kdlight_devices.board import Board
from kdlight_devices.detect import detect, find
from kdlight_edge.engines.tensorrt_module import lack
from kdlight_edge.errors import UsageError

Int8 = Literal["auto", "on", "off"]
Kind = tuple[Literal["onnx", "openvino", "tensorrt"], Literal["fp32", "fp16", "int8"]]

ENGINE_OF = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}
"""Format to the engine that the export proves it on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to build for a family of boards."""

    target: str
    boards: tuple[Board, ...]
    formats: tuple[Kind, ...]
    """Format and precision of each file to try; the float ONNX file first."""
    reasons: tuple[str, ...]
    """Why, a line each."""
    int8: Int8 = "auto"
    """Whether INT8 must earn its place, is forced, or is not tried."""
    max_drop: float = 0.5
    """Points of accuracy that INT8 may lose; a class twice as many."""
    compute_capabilities: tuple[str, ...] = ()
    """GPUs that TensorRT-RTX engines are built for ahead of time."""


def make_plan(
    target: str, *, int8: Int8 = "auto", max_drop: float = 0.5, compute_capabilities: tuple[str, ...] = ()
) -> Plan:
    """Plan the artifacts for a board, a family of boards, or ``auto`` (this machine).

    Raises:
        UsageError: no such target, or a loss that cannot be.
    """
    if not 0 <= max_drop <= 100:  # noqa: PLR2004 - points of a hundred
        raise UsageError(f"--max-drop {max_drop:g} is not between 0 and 100 points")
    try:
        boards = (detect(),) if target == "auto" else find(target)
    except LookupError as error:
        raise UsageError(f"--target {error.args[0]}") from error
    engines = sorted({engine for board in boards for engine in board.engines})
    formats: list[Kind] = [("onnx", "fp32")]
    reasons = ["onnx fp32: ONNX Runtime runs it on every processor, and it is the reference for all others"]
    eight = int8 == "on" or (int8 == "auto" and any("int8" in board.precisions for board in boards))
    earns = "kept whatever is measured" if int8 == "on" else f"kept only within {max_drop:g} points and faster"
    if eight:
        formats.append(("onnx", "int8"))
        reasons.append(f"onnx int8: a third of the bytes; {earns}")
    if "openvino" in engines:
        formats.append(("openvino", "fp16"))
        reasons.append("openvino fp16: weights in 16 bits, arithmetic in 32; kept only where it is faster")
        if eight:
            formats.append(("openvino", "int8"))
            reasons.append(f"openvino int8: from the same Q/DQ graph; {earns}")
    if "tensorrt" in engines or compute_capabilities or (target == "auto" and lack() is None):
        for precision, reason in _tensorrt(int8, compute_capabilities, boards):
            reasons.append(reason)
            if precision is not None:
                formats.append(("tensorrt", precision))
    return Plan(target, boards, tuple(formats), tuple(reasons), int8, max_drop, compute_capabilities)


def _tensorrt(
    int8: Int8, capabilities: tuple[str, ...], boards: tuple[Board, ...]
) -> Iterator[tuple[Literal["fp16", "int8"] | None, str]]:
    """Yield the precisions of TensorRT, and why, a line each."""
    jetsons = [board for board in boards if "tensorrt" in board.engines]
    without = bool(jetsons) and not capabilities and not any("int8" in board.precisions for board in jetsons)
    ahead = f"; TensorRT-RTX engines for compute capability {', '.join(capabilities)}" if capabilities else ""
    where = "the engine is built where it runs, at the first start, while ONNX Runtime answers"
    yield "fp16", f"tensorrt fp16: a 16-bit ONNX file and a build plan; {where}{ahead}"
    if int8 != "off" and without:
        yield None, f"tensorrt int8: left out, the GPU of {jetsons[0].name} has no 8-bit arithmetic"
    elif int8 == "on":
        yield "int8", "tensorrt int8: symmetric Q/DQ and a build plan, because --int8 on asks for it"
    elif int8 == "auto":
        yield None, "tensorrt int8: left out, no GPU board is here to show it faster than fp16; --int8 on builds it"
