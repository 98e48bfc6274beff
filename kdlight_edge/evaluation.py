"""A bundle's answers on labelled pictures and the figures that follow, through the very code that serves them."""

import json
import threading
from typing import Any

import numpy as np

from kdlight_edge import stream
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction, to_record
from kdlight_edge.errors import DataError
from kdlight_edge.frame import Frame
from kdlight_edge.labelled import Labelled
from kdlight_edge.metrics import figures
from kdlight_edge.progress import Progress
from kdlight_edge.sinks.lines import Lines
from kdlight_edge.tally import Summary


class Answers:
    """A sink that keeps the predictions, which are small, and writes them with their truth where that is wanted."""

    wants_frames = False

    def __init__(self, classifier: Classifier, album: Labelled, lines: Lines | None) -> None:
        """Take who answers, what is asked, and where to write each answer."""
        self.predictions: list[Prediction] = []
        self._origin = classifier.origin
        self._album = album
        self._lines = lines

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Keep one prediction."""
        del frame
        self.predictions.append(prediction)
        if self._lines is not None:
            truth = self._album.truth(prediction.index)
            self._lines.write(json.dumps({**to_record(prediction, self._origin), "truth": truth}))

    def close(self) -> None:
        """Write what is held back."""
        if self._lines is not None:
            self._lines.close()


def evaluate(
    classifier: Classifier,
    album: Labelled,
    *,
    workers: int = 0,
    lines: Lines | None = None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Classify every picture of the album and judge the answers.

    Args:
        classifier: opened with as many ``topk`` as the bundle has labels, and best with one thread.
        album: pictures with their truth.
        workers: threads; 0 is one for each core that this process may use.
        lines: where to write each prediction, with ``truth`` beside what ``infer`` writes.
        stop: once set, the pictures begun are finished and judged, and no more is begun.
        progress: is told of every picture.

    Returns:
        Plain JSON types: what `figures` gives, and ``bundle``, ``engine``, ``precision``, ``images_per_second``,
        ``accepted``, ``abstained``, ``outliers``, ``coverage`` (share accepted), ``accuracy_of_accepted`` (None where
        none is), ``classes`` (folder to its label and count) and ``unreadable`` (count, and each file with its reason).

    Raises:
        DataError: not one picture could be judged.
    """
    answers = Answers(classifier, album, lines)
    summary = stream.run(album, classifier, [answers], stop=stop, workers=workers, progress=progress)
    judged = [prediction for prediction in answers.predictions if prediction.label is not None]
    bad = [prediction for prediction in answers.predictions if prediction.label is None]
    if not judged:
        first = f"; the first is {bad[0].source}: {bad[0].reason}" if bad else ""
        raise DataError(f"none of {len(bad)} pictures could be judged{first}")
    manifest = classifier.bundle.manifest
    return {
        "bundle": {"name": manifest.name, "version": manifest.version, "digest": manifest.digest},
        "engine": classifier.engine.name,
        "precision": classifier.engine.artifact.precision,
        **_figures(classifier, album, judged),
        "images_per_second": round(summary.images_per_second, 1),
        **_decisions(album, judged, summary),
        "classes": {name: {"label": album.labels[name], "n": count} for name, count in album.counts.items()},
        "unreadable": {"count": len(bad), "files": [{"source": p.source, "reason": p.reason} for p in bad]},
    }


def _figures(classifier: Classifier, album: Labelled, judged: list[Prediction]) -> dict[str, Any]:
    labels = classifier.bundle.manifest.labels
    ids = [label.id for label in labels]
    rows = [dict(prediction.top) for prediction in judged]
    probabilities = np.array([[row[name] for name in ids] for row in rows])
    truth = np.array([ids.index(album.truth(prediction.index)) for prediction in judged])
    answered = np.array([ids.index(str(prediction.label)) for prediction in judged])
    return figures(probabilities, truth, ids, [label.positive for label in labels], answered)


def _decisions(album: Labelled, judged: list[Prediction], summary: Summary) -> dict[str, Any]:
    accepted = [prediction for prediction in judged if prediction.decision == "accepted"]
    right = sum(prediction.label == album.truth(prediction.index) for prediction in accepted)
    return {
        "accepted": len(accepted),
        "abstained": summary.abstained,
        "outliers": summary.outliers,
        "coverage": len(accepted) / len(judged),
        "accuracy_of_accepted": right / len(accepted) if accepted else None,
    }
