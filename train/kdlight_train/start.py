"""Weights that a student starts from, without its classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlight_edge.errors import DataError
from kdlight_train import checkpoint
from kdlight_train.pictures import Split

SHIPPED = Path(__file__).with_name("starts")
"""Starts that come with kdlight-edge, MEMBER.pt: of features distilled without labels (docs/train.md)."""

HEAD = ("head.weight", "head.bias")
"""What a start does not hold: the classes belong to each training."""

WANTED = "give a file of kdlight-edge pretrain, or RUN/student.pt"
"""What a start is, for errors."""


def start_of(wanted: str | None, name: str) -> Path | None:
    """Return the file that a student starts from, None for random weights.

    Args:
        wanted: what ``--start`` says: a file, or ``none``; None where it says nothing: then the shipped one, if any.
        name: of the member of the family that is to start.
    """
    if wanted is None:
        shipped = SHIPPED / f"{name}.pt"
        return shipped if shipped.is_file() else None
    return None if wanted == "none" else Path(wanted)


def short_hashes(split: Split) -> Tensor:
    """Return the first eight bytes of each picture's digest, int64 [n], rising: a start has room for them."""
    firsts = [int.from_bytes(bytes.fromhex(picture.digest[:16]), "big", signed=True) for picture in split.pictures]
    return torch.tensor(sorted(firsts), dtype=torch.int64)


def seen_by(file: Path, splits: Mapping[str, Split]) -> str | None:
    """Tell how many validation and test pictures a start was made from, None where it does not say.

    Only the very same files are known again.

    Args:
        file: the start.
        splits: of the training, by name.
    """
    seen = (checkpoint.load(file) or {}).get("seen")
    if seen is None:
        return None
    counts = [
        f"{int(torch.isin(short_hashes(splits[name]), seen).sum())} of the {len(splits[name])} {name} pictures"
        for name in ("val", "test")
        if name in splits
    ]
    return f"--start {file} was made from {' and '.join(counts)}"


def load_start(file: Path, name: str) -> dict[str, Tensor]:
    """Read the weights to start a student from: a file of `pretrain`, or the RUN/student.pt of another training.

    Args:
        file: where they are.
        name: of the member of the family that is to start.

    Raises:
        DataError: no such file, it is no start, or it holds another member.
    """
    try:
        state: Any = checkpoint.load(file)
    except checkpoint.Damaged as error:  # of the user, who is not to be told to remove it
        raise DataError(f"--start {file} is no start, or a damaged one; {WANTED}") from error
    if state is None:
        raise DataError(f"--start {file} does not exist; {WANTED}")
    if not isinstance(state, dict) or not {"student", "weights"} <= set(state):
        raise DataError(f"--start {file} is no start; {WANTED}")
    if state["student"] != name:
        raise DataError(f"--start {file} holds student '{state['student']}', wanted is '{name}'; give --student")
    weights: dict[str, Tensor] = state["weights"]
    return {
        key: value.float() if value.is_floating_point() else value for key, value in weights.items() if key not in HEAD
    }
