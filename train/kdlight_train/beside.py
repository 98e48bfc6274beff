"""Two networks' answers to the same pictures, one beside the other."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.metrics import Z95

Logits = npt.NDArray[np.float32]


def compare(mine: Logits, theirs: Logits, truth: npt.NDArray[Any]) -> dict[str, Any]:
    """Compare the accuracy of two networks, picture by picture.

    What both find easy says nothing of their difference, so the interval is narrower than those of two accuracies. It
    is that of Agresti and Min (Statistics in Medicine 2005): half a picture more in each of the four cells, then
    Wald's.

    Args:
        mine: float32 [n, C].
        theirs: float32 [n, C], of the same pictures.
        truth: int [n].

    Returns:
        ``accuracy``, mine less theirs, and ``ci95`` (low, high), as shares; ``gained`` and ``lost``, pictures that I
        alone and they alone have right.
    """
    right, other = (logits.argmax(axis=1) == truth for logits in (mine, theirs))
    gained, lost, total = int((right & ~other).sum()), int((other & ~right).sum()), len(truth) + 2
    centre = (gained - lost) / total
    half = Z95 * math.sqrt(gained + lost + 1 - (gained - lost) ** 2 / total) / total
    return {
        "accuracy": (gained - lost) / len(truth),
        "ci95": [centre - half, centre + half],
        "gained": gained,
        "lost": lost,
    }


def told(split: str, found: Mapping[str, Any]) -> str:
    """Return a line for people about a student beside its teacher."""
    points, (low, high) = 100 * found["accuracy"], (100 * bound for bound in found["ci95"])
    return (
        f"student less teacher: {points:+.1f} points of {split} accuracy ({low:+.1f} to {high:+.1f}, on the same "
        f"pictures: {found['gained']:,} right that the teacher has wrong, {found['lost']:,} the other way round)"
    )
