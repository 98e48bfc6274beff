"""Letters, rounded corners and the colours that decisions are drawn in; every picture here is RGB."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""uint8 [h, w, 3], RGB; drawn on in place."""

Colour = tuple[int, int, int]

PAPER: Colour = (18, 20, 24)
CARD: Colour = (29, 33, 39)
TRACK: Colour = (52, 58, 67)
WHITE: Colour = (236, 239, 243)
GREY: Colour = (146, 153, 163)
POSITIVE: Colour = (255, 112, 92)
NEGATIVE: Colour = (84, 200, 148)
DECISIONS: dict[str, Colour] = {
    "abstained": (245, 190, 80),
    "outlier": (178, 142, 255),
    "stale": (120, 170, 255),
    "error": (235, 80, 100),
}
"""Colour of a decision other than accepted, which is drawn in the colour of its label."""

_SMOOTH = 4
"""Fractional bits of the coordinates given to cv2."""


def text(picture: Picture, words: str, at: tuple[int, int], size: int, colour: Colour, *, bold: bool = False) -> None:
    """Write words with their baseline's left end at ``at``; ``size`` is the height of the font in pixels."""
    if _FONT is not None:
        cv2.putText(picture, words, at, colour, _FONT, size, 700 if bold else 400)
    else:
        cv2.putText(picture, _plain(words), at, _HERSHEY, size / 33, colour, 1 + bold, cv2.LINE_AA)


def width_of(words: str, size: int, *, bold: bool = False) -> int:
    """Return how many pixels wide `text` would write words."""
    if _FONT is not None:
        box: Any = cv2.getTextSize((0, 0), words, (0, 0), _FONT, size, 700 if bold else 400)
        return int(box[0] + box[2])
    return cv2.getTextSize(_plain(words), _HERSHEY, size / 33, 1 + bold)[0][0]


def shortened(words: str, size: int, room: int) -> str:
    """Return words cut in the middle so that they fit into ``room`` pixels."""
    kept = len(words)
    result = words
    while width_of(result, size) > room and kept > 2:  # noqa: PLR2004 - one letter at each end
        kept -= 1
        result = f"{words[: kept // 2]}...{words[len(words) - (kept - kept // 2) :]}"
    return result


def rounded(picture: Picture, box: tuple[int, int, int, int], radius: int, colour: Colour) -> None:
    """Fill a box (left, top, width, height) with round corners, its edge smooth; what lies outside is left out."""
    left, top, width, height = box
    part = picture[top : top + height, left : left + width]
    cover = corners(max(1, width), max(1, height), radius)[: part.shape[0], : part.shape[1]]
    part[:] = (part * (1 - cover) + np.array(colour, np.float32) * cover + 0.5).astype(np.uint8)


def corners(width: int, height: int, radius: int) -> npt.NDArray[np.float32]:
    """Return how much of each pixel a box with round corners covers, float32 [height, width, 1], 0 to 1."""
    radius = min(radius, width // 2, height // 2)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius), 0)
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius), 0)
    distance = np.hypot(y[:, np.newaxis], x[np.newaxis, :])
    cover: npt.NDArray[np.float32] = np.clip(radius - distance + 0.5, 0, 1).astype(np.float32)[..., np.newaxis]
    return cover


def dot(picture: Picture, at: tuple[int, int], radius: float, colour: Colour) -> None:
    """Fill a circle, its edge smooth."""
    scale = 1 << _SMOOTH
    centre = (at[0] * scale, at[1] * scale)
    cv2.circle(picture, centre, int(radius * scale), colour, -1, cv2.LINE_AA, _SMOOTH)


def _plain(words: str) -> str:
    return words.replace("·", "|").encode("ascii", "replace").decode()


_HERSHEY = cv2.FONT_HERSHEY_SIMPLEX
_FONT: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
"""OpenCV 5 brings a real typeface; before it there are only plotter strokes."""
