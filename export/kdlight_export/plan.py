"""What will be built for a target, and why."""

from dataclasses import dataclass

from kdlight_devices.board import Board
from kdlight_devices.detect import detect, find
from kdlight_edge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to build for a family of boards."""

    target: str
    boards: tuple[Board, ...]
    formats: tuple[tuple[str, str], ...]
    """Format and precision of each artifact, in order of preference."""
    reasons: tuple[str, ...]
    """Why, a line each."""


def make_plan(target: str) -> Plan:
    """Plan the artifacts for a board, a family of boards, or ``auto`` (this machine).

    Raises:
        UsageError: no such target.
    """
    try:
        boards = (detect(),) if target == "auto" else find(target)
    except LookupError as error:
        raise UsageError(f"--target {error.args[0]}") from error
    reasons = ["onnx fp32: ONNX Runtime runs it on every processor, and it is the reference for all others"]
    wanted = sorted({engine for board in boards for engine in board.engines} - {"onnxruntime"})
    if wanted:
        reasons.append(f"{' and '.join(wanted)}: not built by this version; ONNX Runtime answers there")
    return Plan(target, boards, (("onnx", "fp32"),), tuple(reasons))
