"""What a command line names: a path, never an empty one, and one board of those that are known."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.errors import UsageError

if TYPE_CHECKING:
    from kdlight_devices.board import Board


def named_path(text: str) -> Path:
    """Return the path; for the ``type`` of a flag.

    Raises:
        argparse.ArgumentTypeError: it is empty, as an unset variable leaves it; Python takes it for ``.``.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a path ('.' is the folder that you are in)")
    return Path(text)


def named_board(name: str) -> "Board":
    """Return the board that ``--board`` names.

    Raises:
        UsageError: none has that name, or it is a family of several.
    """
    from kdlight_devices.detect import find

    try:
        found = find(name)
    except LookupError as error:
        raise UsageError(f"--board: {error.args[0]}") from error
    if len(found) > 1:
        raise UsageError(f"--board {name} is a family; choose one of {', '.join(board.name for board in found)}")
    return found[0]
