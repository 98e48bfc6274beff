"""Which board this is: the device tree says it on a Jetson or a Pi, the processor's flags on a computer."""

from pathlib import Path

from kdlight_devices import jetson, raspberry_pi, workstation
from kdlight_devices.board import Board
from kdlight_devices.kernel import read

BOARDS = (*jetson.BOARDS, *raspberry_pi.BOARDS, *workstation.BOARDS)
"""Every board this program knows, by family."""


def detect(root: Path = Path("/")) -> Board:
    """Recognise the machine.

    Args:
        root: where its ``proc`` is; another folder than ``/`` for a tree captured elsewhere.

    Returns:
        The board; `workstation.OTHER` for a machine that is not known.
    """
    # The device tree goes from the exact board to its chip, so the first name that is known is the most exact one.
    for name in compatible(root):
        for board in BOARDS:
            if name in board.compatible:
                return board
    fields = cpu_fields(root)
    if "flags" not in fields:
        return workstation.OTHER
    vnni = workstation.VNNI_FLAGS.intersection(fields["flags"].split())
    return workstation.X86_VNNI if vnni else workstation.X86


def find(name_or_family: str) -> tuple[Board, ...]:
    """Return the board of that name, or every board of that family (``jetson``, ``rpi``, ``cpu``).

    Raises:
        LookupError: neither is known; the message lists both.
    """
    found = tuple(board for board in BOARDS if name_or_family in {board.name, board.target})
    if not found:
        families = dict.fromkeys(board.target for board in BOARDS)
        raise LookupError(
            f"board {name_or_family!r} is unknown; choose one of {', '.join(board.name for board in BOARDS)}, "
            f"or a family: {', '.join(families)}"
        )
    return found


def compatible(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the device tree's names of this board, the most exact first; empty where there is no device tree."""
    return tuple(name for name in read(root / "proc/device-tree/compatible").split("\0") if name)


def model(root: Path = Path("/")) -> str:
    """Return the device tree's name of this board for people; empty where there is no device tree."""
    return read(root / "proc/device-tree/model").rstrip("\0\n")


def cpu_fields(root: Path = Path("/")) -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo."""
    first = read(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
