"""A training that can be killed at any moment: its whole state in one file, replaced in one step."""

import contextlib
import errno
import glob
import os
import pickle
import secrets
import time
from pathlib import Path
from typing import Any

import torch

from kdlight_edge.errors import DataError

LEFT = 3600.0
"""Seconds after which what stands half-written beside a checkpoint is called left over: a save takes a few."""


RESUME = "go on with --resume"
"""What to do after a save that failed, for errors: as `train` has it."""


NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
"""What room would not help against."""

BROKEN = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError, pickle.UnpicklingError,
)  # fmt: skip
"""What torch raises at a file that is none of its own, or half of one."""


class Damaged(DataError):
    """A file that is not as it was saved."""


def save(file: Path, state: dict[str, Any], again: str = RESUME) -> None:
    """Write the state beside its place, force it to disk, and put it there in one step.

    What is written has a name of its own, so that two that save the same file leave the one or the other, whole.

    Args:
        file: its place.
        state: what `load` gives back.
        again: what goes on after a save that failed, for the error.

    Raises:
        DataError: the disk is full or cannot be written; the older checkpoint is still whole.
    """
    beside = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        _clear(file)
        with beside.open("xb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError from its archive writer, in the wake of the system's own words.
        beside.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        first = "mend that" if getattr(cause, "errno", None) in NO_RIGHT else "free some room"
        raise DataError(f"{file} could not be written ({reason}); {first} and {again}") from error


def _clear(file: Path) -> None:
    """Remove what trainings that were killed in the middle of a save left beside the file."""
    for part in file.parent.glob(f"{glob.escape(file.name)}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # another training clears too
            if time.time() - part.stat().st_mtime > LEFT:
                part.unlink()


def load(file: Path) -> dict[str, Any] | None:
    """Read a state, None where there is none yet.

    Raises:
        DataError: the file cannot be opened.
        Damaged: it is none that `save` wrote.
    """
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream:
            state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:  # of the disk or its rights: what stands there may be whole
        raise DataError(f"{file} cannot be read: {error.strerror or error}; mend that and try again") from error
    except BROKEN as error:
        raise Damaged(f"{file} is damaged; remove it to start this part again") from error
    return state
