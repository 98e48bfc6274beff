"""A training that can be killed at any moment: its whole state in one file, replaced in one step."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from kdlight_edge.errors import DataError


def save(file: Path, state: dict[str, Any]) -> None:
    """Write the state beside its place, force it to disk, and put it there in one step.

    Raises:
        DataError: the disk is full or cannot be written; the older checkpoint is still whole.
    """
    beside = file.with_suffix(".part")
    try:
        with beside.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError from its archive writer.
        beside.unlink(missing_ok=True)
        reason = str(error).splitlines()[0]
        raise DataError(f"{file} could not be written ({reason}); free some room and go on with --resume") from error


def load(file: Path) -> dict[str, Any] | None:
    """Read a state, None where there is none yet.

    Raises:
        DataError: the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(f"{file} is damaged; remove it to start this part again") from error
    return state
