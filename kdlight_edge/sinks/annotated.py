"""Copies of the pictures with the answer written on them, as JPEG files in a folder."""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np

from kdlight_edge.decide import Prediction, utc
from kdlight_edge.errors import KDLightError
from kdlight_edge.explain import Explain
from kdlight_edge.frame import Frame
from kdlight_edge.manifest import Manifest
from kdlight_edge.picture import EXTENSIONS, to_jpeg
from kdlight_edge.plain import stamped
from kdlight_edge.sinks import ink

SMALLEST, LARGEST = 256, 4096
"""Sides in pixels: a picture is enlarged until words fit on it, and a copy is never larger than this."""

LONGEST = 255
"""Bytes of a file's name that Linux takes at most."""

QUALITY = 92
"""Of the JPEG."""


class Annotated:
    """Writes one copy for each picture: below the folder as in the source, or numbered for a video.

    The name of a camera's copy has its time, as numbers begin anew with each run; of several it tells which it is of.
    """

    wants_frames = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        manifest: Manifest,
        explain: Explain | None = None,
        cameras: Sequence[str] | None = None,
        *,
        timed: bool = False,
    ) -> None:
        """Take where to write, the names of the labels, what draws the map of the decided class, and the cameras.

        Args:
            folder: is made where it is missing.
            manifest: names the labels.
            explain: draws the map of the decided class; None for none.
            cameras: their URIs.
            timed: whether later runs shall find their place beside this one's copies: of a source without an end.
        """
        self._folder, self._explain, self._timed = Path(folder), explain, timed
        self._several = len(cameras or ()) > 1
        self._texts = {label.id: label.text for label in manifest.labels}
        self._positive = {label.id for label in manifest.labels if label.positive}

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write the copy of one picture; there is none of an unreadable one.

        Raises:
            KDLightError: it cannot be written; no half of a file is left.
        """
        if frame is None:
            return
        path = self._folder / self._name(frame)
        content = to_jpeg(self.draw(prediction, frame.image), QUALITY)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # each time: a person may have tidied it away
            path.write_bytes(content)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise KDLightError(
                f"{path} cannot be written: {error.strerror}; make room or choose another --save"
            ) from error

    def _name(self, frame: Frame) -> str:
        name = copy_name(frame, timed=self._timed)
        return f"{camera_name(frame.source)}-{name}" if self._several else name

    def draw(self, prediction: Prediction, image: ink.Picture, note: str = "") -> ink.Picture:
        """Return a copy of a picture, uint8 [h, w, 3] RGB, with label, probability, decision and note in its corner."""
        copy = _sized(image)
        if self._explain is not None:
            copy = self._explain(prediction, image, copy)
        height, width = copy.shape[:2]
        size = max(14, min(height, width) // 22)
        words = f"{self._texts.get(prediction.label or '', prediction.label)}  {prediction.probability:.1%}"
        if prediction.decision != "accepted":
            words += f"  ·  {prediction.decision}"
        words += f"  ·  {note}" if note else ""
        colour = ink.DECISIONS.get(
            prediction.decision, ink.POSITIVE if prediction.label in self._positive else ink.NEGATIVE
        )
        edge, chip = size // 2, (ink.width_of(words, size) + 3 * size, 2 * size)
        left, top = edge, max(0, height - chip[1] - edge)
        ink.rounded(copy, (left, top, min(chip[0], width - 2 * edge), chip[1]), size // 2, ink.PAPER)
        ink.dot(copy, (left + size, top + size), size * 0.32, colour)
        ink.text(copy, words, (left + size * 2 - size // 4, top + round(size * 1.36)), size, ink.WHITE)
        return copy

    def close(self) -> None:
        """Nothing is held back."""


def copy_name(frame: Frame, *, timed: bool = False) -> str:
    """Return where the copy of a frame lies below the folder; never outside of it."""
    if "below" not in frame.meta:
        return f"{stamped(utc(frame.captured), frame.index)}.jpg" if timed else f"frame-{frame.index:08}.jpg"
    return copy_of(frame.meta["below"])


def camera_name(source: str) -> str:
    """Return a short name of a camera that any disk takes, and that no other has: part of its URI, and a hash of it."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", source).strip("-")[:48].strip("-")
    return f"{words}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}".lstrip("-")


def copy_of(below: str | PurePath) -> str:
    """Return where the copy of a picture of a folder lies, both as paths below the folders.

    ``x.jpg`` keeps its name, ``x.png`` becomes ``x.png.jpg``, and so ``x.png.jpg`` becomes ``x.png.jpg.jpg``: no two
    pictures share a copy. A name that would become longer than disks take is cut, and a hash of it follows.
    """
    below = PurePath(below)
    keeps = below.suffix.lower() in {".jpg", ".jpeg"} and PurePath(below.stem).suffix.lower() not in EXTENSIONS
    name = os.fsencode(below.name if keeps else below.name + ".jpg")
    if len(name) > LONGEST:
        end = f"-{hashlib.sha256(name).hexdigest()[:16]}.jpg"
        return str(below.with_name(name[: LONGEST - len(end)].decode("utf-8", "ignore") + end))
    return str(below.with_name(os.fsdecode(name)))


def _sized(image: ink.Picture) -> ink.Picture:
    """Return a copy that words can be read on and that a viewer opens."""
    height, width = image.shape[:2]
    scale = max(1.0, SMALLEST / min(height, width))
    scale = min(scale, LARGEST / max(height, width)) if max(height, width) * scale > LARGEST else scale
    if scale == 1:
        return image.copy()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return np.ascontiguousarray(resized)
