"""The class activation map as people see it: which class it shows, where it lies on the picture, and its glow."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Input, Label

Map = npt.NDArray[np.float32]
"""float32 [h, w]."""

Picture = npt.NDArray[np.uint8]
"""uint8 [h, w, 3], RGB."""

_AMBER, _RED = (255, 196, 64), (255, 48, 40)

_GRAIN = 4
"""Pixels of a picture, across and down, that share a value of the map that `lay` lays over it."""


def shown_class(labels: Sequence[Label], first: int) -> int:
    """Return whose map is shown when the class that matters is looked for, and class ``first`` was answered.

    Returns:
        ``first`` where it matters or none does, else the index of the first class that matters.
    """
    positive = [i for i, label in enumerate(labels) if label.positive]
    return first if first in positive or not positive else positive[0]


def evidence(planes: npt.NDArray[np.float32], shown: int) -> Map:
    """Return how much each place speaks for a class against the others, float32 [h, w] in logits; of either sign.

    ``planes`` is the ``cam`` output of one picture, float32 [C, h, w].
    """
    result: Map = planes[shown] - np.delete(planes, shown, axis=0).mean(axis=0)
    return result


def place(share: npt.NDArray[Any], size: tuple[int, int], spec: Input) -> Map:
    """Bring a map over the network's input back over the picture.

    Args:
        share: float32 [h, w], 0 to 1.
        size: width and height of the picture.
        spec: how the picture became the input; see `kdlight_edge.prepare`.

    Returns:
        float32 [height, width], 0 to 1; 0 where the network did not look.
    """
    width, height = size
    result = np.zeros((height, width), np.float32)
    if spec.resize == "crop":
        scale = min(width / spec.width, height / spec.height)
        across, down = round(spec.width * scale), round(spec.height * scale)
        left, top = (width - across) // 2, (height - down) // 2
        result[top : top + down, left : left + across] = _smooth(share, (across, down))
    elif spec.resize == "fit":
        scale = max(width / spec.width, height / spec.height)
        across, down = round(spec.width * scale), round(spec.height * scale)
        left, top = (across - width) // 2, (down - height) // 2
        result[:] = _smooth(share, (across, down))[top : top + height, left : left + width]
    else:
        result[:] = _smooth(share, size)
    return result


def _smooth(share: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.clip(cv2.resize(share, size, interpolation=cv2.INTER_CUBIC), 0, 1)


def glow(picture: Picture, heat: Map) -> npt.NDArray[np.float32]:
    """Lay a heat map, float32 [h, w] of 0 to 1, over a picture: clear, then amber, then red. Float32 [h, w, 3]."""
    share = heat[..., np.newaxis]
    amber, red = np.array(_AMBER, np.float32), np.array(_RED, np.float32)
    result: Any = picture * (1 - 0.55 * share) + (amber * (1 - share) + red * share) * (0.55 * share)
    return result  # type: ignore[no-any-return]


def glow_fast(picture: Picture, heat: Map) -> Picture:
    """As `glow`, in whole numbers and uint8; where ``heat`` is smaller than the picture it costs that much less."""
    height, width = picture.shape[:2]
    alpha = cv2.merge([(heat * 140).astype(np.uint8)] * 3)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), _COLOURS)
    left, over = cv2.bitwise_not(alpha), cv2.multiply(colour, alpha, scale=1 / 255)
    if heat.shape != (height, width):
        left, over = cv2.resize(left, (width, height)), cv2.resize(over, (width, height))
    result: Any = cv2.add(cv2.multiply(picture, left, scale=1 / 255), over)
    return result  # type: ignore[no-any-return]


def lay(share: npt.NDArray[Any], picture: Picture, spec: Input) -> Picture:
    """Lay a map over the network's input, float32 [h, w] of 0 to 1, over the picture, as `glow` and `place` would.

    Both work on a quarter of the picture's sides, as a map of a few places is smooth.
    """
    height, width = picture.shape[:2]
    return glow_fast(picture, place(share, (max(1, width // _GRAIN), max(1, height // _GRAIN)), spec))


def _colours() -> npt.NDArray[np.uint8]:
    """Return uint8 [256, 1, 3]: amber to red."""
    share = np.linspace(0, 1, 256)[:, np.newaxis]
    return (np.array(_AMBER) * (1 - share) + np.array(_RED) * share).astype(np.uint8)[:, np.newaxis]


_COLOURS = _colours()
