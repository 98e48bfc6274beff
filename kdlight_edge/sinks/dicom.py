"""Answers for DICOM objects: a structured report and a picture with the heat map, into a folder or to a node."""

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.dicom.answer import Author, capture, report
from kdlight_edge.dicom.scan import CAUTION
from kdlight_edge.dicom.send import Sender
from kdlight_edge.dicom.spool import write_object
from kdlight_edge.errors import DataError, KDLightError
from kdlight_edge.evidence import evidence, glow, shown_class
from kdlight_edge.frame import Frame
from kdlight_edge.prepare import prepare_input
from kdlight_edge.sinks import ink

SMALLEST, LARGEST = 512, 1024
"""Sides of the picture in pixels: words fit on it, and it stays small beside a scan."""


@dataclasses.dataclass(slots=True)
class _Pending:
    """An object whose frames are coming in."""

    name: tuple[str, str | None]
    """Source and hash of its identifier."""
    dataset: Dataset
    predictions: list[Prediction]
    shown: tuple[float, Frame, Prediction]
    """How much the frame speaks for the class that matters, and the frame: the one that the picture is made of."""


class DicomAnswers:
    """Collects the predictions about an object and answers when its last frame is decided."""

    wants_frames = True

    def __init__(
        self, classifier: Classifier, *, folder: Path | None, sender: Sender | None, tell: Callable[[str], None]
    ) -> None:
        """Begin.

        Args:
            classifier: asked for the class activation maps; must be open at `write` and `close`.
            folder: where the answers are written, made if need be; None writes none.
            sender: sends them; None sends none.
            tell: takes a line when an object cannot be answered.

        Raises:
            KDLightError: the folder cannot be made.
        """
        manifest = classifier.bundle.manifest
        self._classifier = classifier
        self._folder = folder
        self._sender = sender
        self._tell = tell
        self._run = secrets.token_hex(16)
        self._positive = {label.id for label in manifest.labels if label.positive}
        self._pending: _Pending | None = None
        self._count = 0
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise KDLightError(f"{folder} cannot be made: {error.strerror}; choose another --dicom-out") from error

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a prediction; a picture that is no scan, or could not be answered, gets no answer.

        Raises:
            KDLightError: the folder, or that of what is still to be sent, cannot be written.
        """
        if prediction.scan is None:
            return
        # Two workers may have read the same file each for itself: what it is tells, not which copy.
        name = prediction.source, prediction.scan["instance"]
        if self._pending is not None and name != self._pending.name:
            self._finish()
        dataset = None if frame is None else frame.meta.get("dicom")
        if frame is not None and dataset is not None:
            self._take(name, dataset, prediction, frame)
        if prediction.scan["frame"] == prediction.scan["frames"]:
            self._finish()

    def _take(self, name: tuple[str, str | None], dataset: Dataset, prediction: Prediction, frame: Frame) -> None:
        weight = self._weight(prediction)
        if self._pending is None:
            self._pending = _Pending(name, dataset, [prediction], (weight, frame, prediction))
            return
        self._pending.predictions.append(prediction)
        if weight > self._pending.shown[0]:
            self._pending.shown = (weight, frame, prediction)

    def _weight(self, prediction: Prediction) -> float:
        """Return how much a frame speaks for the class that matters; for its own, where none matters more."""
        matters = [value for label, value in prediction.top if label in self._positive]
        if matters:
            return matters[0]
        # Below all that name one: the less sure it is of its own, the more is left for those not told (--topk).
        return (prediction.probability or 0) * (-1 if self._positive else 1)

    def _finish(self) -> None:
        """Make both answers and hand them on."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        self._count += 1
        _, frame, prediction = pending.shown
        shown = prediction.scan["frame"] if prediction.scan is not None else 1
        engine = self._classifier.engine  # another one may have taken over since the run began
        author = Author(self._classifier.bundle.manifest, engine.name, engine.artifact.precision, self._run)
        try:
            answers = [
                report(pending.dataset, pending.predictions, author, self._count),
                capture(pending.dataset, self.draw(prediction, frame), author, self._count, frame=shown),
            ]
        except DataError as error:
            self._tell(f"scan {prediction.index} has no answer object: {error}")
            return
        except Exception as error:  # noqa: BLE001 - elements of a scan may be anything but what the standard says
            kind = type(error).__name__  # its text may quote a name
            self._tell(f"scan {prediction.index} has no answer object: its header cannot be used ({kind})")
            return
        for answer in answers:
            if self._folder is not None:
                write_object(answer, self._folder / f"{answer.SOPInstanceUID}.dcm", "--dicom-out")
            if self._sender is not None:
                self._sender.send(answer)

    def draw(self, prediction: Prediction, frame: Frame) -> ink.Picture:
        """Return the picture of an answer, uint8 [h, w, 3] RGB: what the network saw, its heat map and the words."""
        manifest = self._classifier.bundle.manifest
        height, width = frame.image.shape[:2]
        if manifest.input.resize != "squash":
            height, width = manifest.input.height, manifest.input.width
        scale = max(SMALLEST / min(height, width), 1.0)
        scale = min(scale, LARGEST / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        view = dataclasses.replace(
            manifest.input, width=size[0], height=size[1], colour="rgb", interpolation="area" if scale < 1 else "linear"
        )
        picture = prepare_input(frame.image, view)
        lit = glow(picture, self._heat(prediction, frame, size))
        return self._words((np.clip(lit, 0, 255) + 0.5).astype(np.uint8), prediction)

    def _heat(self, prediction: Prediction, frame: Frame, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return where the picture speaks for the class that matters, else for its label, float32 [h, w] of 0 to 1."""
        labels = self._classifier.bundle.manifest.labels
        cam = self._classifier.outputs([frame.image], cam=True).cam
        if cam is None:
            return np.zeros(size[::-1], np.float32)
        first = next((i for i, label in enumerate(labels) if label.id == prediction.label), 0)
        plane = evidence(cam[0], shown_class(labels, first))
        grown = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
        heat: npt.NDArray[np.float32] = np.clip(grown / max(float(grown.max()), 1e-6), 0, 1).astype(np.float32)
        return heat

    def _words(self, picture: ink.Picture, prediction: Prediction) -> ink.Picture:
        """Put a bar over and a bar under the picture: the caution, and what was decided by which bundle."""
        manifest = self._classifier.bundle.manifest
        texts = {label.id: label.text for label in manifest.labels}
        width = picture.shape[1]
        size = max(9, min(22, width // 26))
        bar = np.full((2 * size, width, 3), ink.PAPER, np.uint8)
        top, bottom = bar.copy(), np.vstack([bar, bar])
        ink.text(top, _fitting(CAUTION, size, width), (size // 2, round(size * 1.4)), size, ink.DECISIONS["abstained"])
        words = f"{texts.get(prediction.label or '', '')} {prediction.probability:.3f}, {prediction.decision}"
        if prediction.scan is not None and prediction.scan["frames"] > 1:
            words += f", frame {prediction.scan['frame']} of {prediction.scan['frames']}"
        ink.text(bottom, _fitting(words, size, width), (size // 2, round(size * 1.4)), size, ink.WHITE)
        made = f"{manifest.name} {manifest.version} ({manifest.digest[:12]}), unverified"
        ink.text(bottom, _fitting(made, size, width), (size // 2, round(size * 3.2)), size, ink.GREY)
        return np.vstack([top, picture, bottom])

    def close(self) -> None:
        """Answer what is still pending, and send what waits.

        Raises:
            KDLightError: as `write`.
        """
        try:
            self._finish()
        finally:
            if self._sender is not None:
                self._sender.close()


def _fitting(words: str, size: int, width: int) -> str:
    return ink.shortened(words, size, width - size)
