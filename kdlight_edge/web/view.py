"""The newest picture of a source as a small JPEG, with the heat map over it where it is asked for; made only then."""

import threading
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.classifier import Classifier
from kdlight_edge.evidence import evidence, lay, shown_class
from kdlight_edge.explain import FAINT
from kdlight_edge.frame import Frame
from kdlight_edge.picture import to_jpeg
from kdlight_edge.web.panel import Panel

SIDE = 480
"""Pixels of the longer side: enough for a phone and a desk, a millisecond or two to encode on a board."""

QUALITY = 70
"""Of the JPEG."""

FRESH = 0.1
"""Seconds for which a picture is handed out again: with any number of viewers it is made ten times a second at most."""

FADE = 0.97
"""How much of the heat map's scale is left a picture later, so that one hot frame does not dim all that follow."""


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
        return to_jpeg(picture, QUALITY)

    def _glowing(self, picture: npt.NDArray[np.uint8], frame: Frame) -> npt.NDArray[np.uint8]:
        """Lay over it where the network sees the class that is shown: clear, then amber, then red."""
        cam = self._classifier.outputs([frame.image], cam=True).cam
        if cam is None:
            return picture
        labels = self._classifier.bundle.manifest.labels
        spoken = evidence(cam[0], shown_class(labels, int(cam[0].mean(axis=(1, 2)).argmax())))
        np.maximum(spoken, 0, out=spoken)
        self._scale = max(self._scale * FADE, FAINT, float(np.percentile(spoken, 97)))
        share = np.clip(spoken / self._scale, 0, 1)
        return lay(share, picture, self._classifier.bundle.manifest.input)


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
