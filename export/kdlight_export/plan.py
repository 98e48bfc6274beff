"""What will be built for a target, and why."""

from dataclasses import dataclass
from typing import Literal

from kdlight_devices.board import Board
from kdlight_devices.detect import detect, find
from kdlight_edge.errors import UsageError

Int8 = Literal["auto", "on", "off"]
Kind = tuple[Literal["onnx", "openvino"], Literal["fp32", "fp16", "int8"]]

ENGINE_OF = {"onnx": "onnxruntime", "openvino": "openvino"}
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


def make_plan(target: str, *, int8: Int8 = "auto", max_drop: float = 0.5) -> Plan:
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
    eight = int8 != "off" and any("int8" in board.precisions for board in boards)
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
    if "tensorrt" in engines:
        reasons.append("tensorrt: not built by this version; ONNX Runtime answers there")
    return Plan(target, boards, tuple(formats), tuple(reasons), int8, max_drop)
