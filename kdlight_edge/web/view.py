"""The newest picture of a source as a small JPEG, with the heat map over it where it is asked for; made only then."""

import threading
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.classifier import Classifier
from kdlight_edge.frame import Frame
from kdlight_edge.manifest import Input
from kdlight_edge.web.panel import Panel

SIDE = 480
"""Pixels of the longer side: enough for a phone and a desk, a millisecond or two to encode on a board."""

QUALITY = 70
"""Of the JPEG."""

FRESH = 0.1
"""Seconds for which a picture is handed out again: with any number of viewers it is made ten times a second at most."""

FADE = 0.97
"""How much of the heat map's scale is left a picture later, so that one hot frame does not dim all that follow."""

FAINT = 1.0
"""Evidence (logits, of a place against the other classes) below which nothing is shown at full strength."""


class View:
    """Makes pictures for viewers, one at a time: what they cost together is bounded."""

    def __init__(self, classifier: Classifier, panel: Panel) -> None:
        self._classifier, self._panel = classifier, panel
        self._lock = threading.Lock()
        self._made: dict[bool, tuple[float, int, bytes]] = {}
        self._scale = FAINT

    def jpeg(self, *, heat: bool) -> tuple[int, bytes] | None:
        """Return the number of the newest frame and its picture; None while there is none."""
        with self._lock:
            made = self._made.get(heat)
            if made is not None and time.monotonic() - made[0] < FRESH:
                return made[1:]
            frame = self._panel.frame
            if frame is None:
                return None
            if made is None or made[1] != frame.index:
                made = (time.monotonic(), frame.index, self._encoded(frame, heat=heat))
                self._made[heat] = made
            return made[1:]

    def _encoded(self, frame: Frame, *, heat: bool) -> bytes:
        picture = _small(frame.image)
        if heat:
            picture = self._glowing(picture, frame)
        done, content = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        return content.tobytes() if done else b""

    def _glowing(self, picture: npt.NDArray[np.uint8], frame: Frame) -> npt.NDArray[np.uint8]:
        """Lay over it where the network sees the class that is shown: clear, then amber, then red."""
        cam = self._classifier.outputs([frame.image], cam=True).cam
        if cam is None:
            return picture
        evidence = self._evidence(cam[0])
        self._scale = max(self._scale * FADE, FAINT, float(np.percentile(evidence, 97)))
        share = np.clip(evidence / self._scale, 0, 1)
        placed = place(share, (picture.shape[1], picture.shape[0]), self._classifier.bundle.manifest.input)
        alpha = cv2.merge([(placed * 140).astype(np.uint8)] * 3)
        colour = cv2.applyColorMap((placed * 255).astype(np.uint8), _COLOURS)
        clear = cv2.multiply(picture, cv2.subtract(np.full_like(alpha, 255), alpha), scale=1 / 255)
        result: Any = cv2.add(clear, cv2.multiply(colour, alpha, scale=1 / 255))
        return result  # type: ignore[no-any-return]

    def _evidence(self, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return float32 [h, w]: of the positive class where there is one, else of the strongest class."""
        labels = self._classifier.bundle.manifest.labels
        positive = [i for i, label in enumerate(labels) if label.positive]
        first = int(planes.mean(axis=(1, 2)).argmax())
        shown = first if first in positive or not positive else positive[0]
        evidence: npt.NDArray[np.float32] = planes[shown] - np.delete(planes, shown, axis=0).mean(axis=0)
        return np.maximum(evidence, 0)


def place(share: npt.NDArray[Any], size: tuple[int, int], spec: Input) -> npt.NDArray[np.float32]:
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


def _small(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return image
    if scale < 1 / 2:  # a large photograph: whole steps first, which cost little and leave no aliasing
        step = int(1 / scale)
        image = cv2.resize(image, (max(1, width // step), max(1, height // step)), interpolation=cv2.INTER_AREA)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _colours() -> npt.NDArray[np.uint8]:
    """Return uint8 [256, 1, 3]: amber to red."""
    share = np.linspace(0, 1, 256)[:, np.newaxis]
    return (np.array((255, 196, 64)) * (1 - share) + np.array((255, 48, 40)) * share).astype(np.uint8)[:, np.newaxis]


_COLOURS = _colours()
