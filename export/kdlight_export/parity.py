"""Whether an engine answers as the student it was made from, from encoded bytes to logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.classifier import Classifier
from kdlight_edge.errors import ParityError
from kdlight_edge.picture import decode
from kdlight_edge.prepare import prepare
from kdlight_edge.testing import golden_picture

Logits = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

LIMITS = {"fp32": (1e-3, 1.0), "fp16": (5e-2, 0.998), "int8": (float("inf"), 0.99)}
"""Precision to the largest |Δlogit| and the smallest share of equal first labels, over all and in each class."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What a comparison found."""

    pictures: int
    agreement: float
    """Share of pictures with the same first label."""
    worst_class: tuple[str, float]
    """The label (as the student sees it) with the smallest share, and that share."""
    max_difference: float
    """Largest |Δlogit|."""
    first: tuple[int, ...]
    """The engine's first label for each picture."""


def encoded_golden(seeds: Sequence[int]) -> list[bytes]:
    """Return procedural pictures as JPEG, PNG and 16-bit PNG files in memory, one of each per seed."""
    files = []
    for seed in seeds:
        picture = cv2.cvtColor(golden_picture(seed), cv2.COLOR_RGB2BGR)
        deep = picture.astype(np.uint16) * 257
        for extension, image in ((".jpg", picture), (".png", picture), (".png", deep)):
            files.append(cv2.imencode(extension, image)[1].tobytes())
    return files


def compare(classifier: Classifier, reference: Logits, files: Sequence[bytes]) -> Parity:
    """Run encoded pictures through the runtime's own path and through the torch student.

    Args:
        classifier: the bundle on the engine that is judged.
        reference: the torch student on prepared pictures.
        files: encoded pictures; every one must decode.
    """
    manifest = classifier.bundle.manifest
    ours, theirs = [], []
    for content in files:
        image = decode(content)
        ours.append(classifier.outputs([image]).logits[0])
        theirs.append(reference(prepare(image, manifest)[np.newaxis])[0])
    got, wanted = np.stack(ours), np.stack(theirs)
    first = got.argmax(axis=1)
    same = first == wanted.argmax(axis=1)
    shares = {
        label.id: float(same[wanted.argmax(axis=1) == index].mean())
        for index, label in enumerate(manifest.labels)
        if (wanted.argmax(axis=1) == index).any()
    }
    worst = min(shares.items(), key=lambda entry: entry[1])
    return Parity(len(files), float(same.mean()), worst, float(np.abs(got - wanted).max()), tuple(first.tolist()))


def require(parity: Parity, precision: str, file: str) -> None:
    """Raise a `ParityError` where a comparison is outside the limits of its precision."""
    difference, agreement = LIMITS[precision]
    if parity.max_difference > difference or parity.worst_class[1] < agreement:
        raise ParityError(
            f"{file} answers differently from the student: max |Δlogit| {parity.max_difference:.3g} (limit "
            f"{difference:g}), agreement {parity.agreement:.2%}, worst class {parity.worst_class[0]} "
            f"{parity.worst_class[1]:.2%} (limit {agreement:.1%}) over {parity.pictures} pictures; nothing was exported"
        )
