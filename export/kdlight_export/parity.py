"""Whether an engine answers as the student it was made from, from encoded bytes to logits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.engines import Engine
from kdlight_edge.errors import ParityError
from kdlight_edge.manifest import Input
from kdlight_edge.picture import decode
from kdlight_edge.prepare import prepare_input
from kdlight_edge.testing import golden_picture

Logits = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

LIMITS = {"fp32": (1e-3, 1.0), "fp16": (5e-2, 0.998), "int8": (float("inf"), 0.99)}
"""Precision to the largest |Δlogit| and the smallest share of equal first labels, over all and in each class."""

BATCH = 16
"""Pictures a pass of the student and of an engine."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Pictures to compare on: decoded and prepared once by the runtime's own code, with the student's answers."""

    batch: npt.NDArray[np.uint8]
    """uint8 [n, H, W, 3]."""
    wanted: npt.NDArray[np.float32]
    """The student's logits, float32 [n, C]."""
    truth: npt.NDArray[np.int64]
    """Class of the first pictures, the held-out ones, int64 [m], m <= n; the rest are procedural."""


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
    accuracy: float | None
    """Share of the held-out pictures answered right; None without any."""
    recall: Mapping[str, float]
    """The same for each class that is among them."""
    logits: npt.NDArray[np.float32]
    """Of the held-out pictures, float32 [m, C]."""
    outlier: npt.NDArray[np.float32]
    """Of the held-out pictures, float32 [m]."""


def gather(pictures: Sequence[tuple[bytes, int]], seeds: Sequence[int], spec: Input, reference: Logits) -> Proof:
    """Decode and prepare held-out pictures (encoded, with their class) and procedural ones, and ask the student."""
    files = [content for content, _ in pictures] + encoded_golden(seeds)
    batch = np.stack([prepare_input(decode(content), spec) for content in files])
    wanted = np.concatenate([reference(part) for part in _passes(batch)])
    return Proof(batch, wanted, np.array([label for _, label in pictures], np.int64))


def encoded_golden(seeds: Sequence[int]) -> list[bytes]:
    """Return procedural pictures as JPEG, PNG and 16-bit PNG files in memory, one of each per seed."""
    files = []
    for seed in seeds:
        picture = cv2.cvtColor(golden_picture(seed), cv2.COLOR_RGB2BGR)
        deep = picture.astype(np.uint16) * 257
        for extension, image in ((".jpg", picture), (".png", picture), (".png", deep)):
            files.append(cv2.imencode(extension, image)[1].tobytes())
    return files


def compare(engine: Engine, labels: Sequence[str], proof: Proof) -> Parity:
    """Run an engine over the pictures and compare it with the student and with the truth."""
    answers = [engine.run(part) for part in _passes(proof.batch)]
    got = np.concatenate([answer.logits for answer in answers])
    outlier = np.concatenate([answer.outlier for answer in answers])
    first, expected, held_out = got.argmax(axis=1), proof.wanted.argmax(axis=1), len(proof.truth)
    shares = _by_class(first == expected, expected, labels)
    right = first[:held_out] == proof.truth
    return Parity(
        len(got), float((first == expected).mean()), min(shares.items(), key=lambda entry: entry[1]),
        float(np.abs(got - proof.wanted).max()), float(right.mean()) if held_out else None,
        _by_class(right, proof.truth, labels), got[:held_out], outlier[:held_out],
    )  # fmt: skip


def complaint(parity: Parity, precision: str) -> str | None:
    """Tell what of a comparison is outside the limits of its precision; None where all is within."""
    difference, agreement = LIMITS[precision]
    if parity.max_difference <= difference and parity.worst_class[1] >= agreement:
        return None
    return (
        f"answers differently from the student: max |Δlogit| {parity.max_difference:.3g} (limit {difference:g}), "
        f"agreement {parity.agreement:.2%}, worst class {parity.worst_class[0]} {parity.worst_class[1]:.2%} "
        f"(limit {agreement:.1%}) over {parity.pictures} pictures"
    )


def require(parity: Parity, precision: str, file: str) -> None:
    """Raise a `ParityError` where a comparison is outside the limits of its precision."""
    said = complaint(parity, precision)
    if said is not None:
        raise ParityError(f"{file} {said}; nothing was exported")


def _by_class(good: npt.NDArray[np.bool_], kind: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, float]:
    return {
        label: float(good[kind == index].mean()) for index, label in enumerate(labels) if bool((kind == index).any())
    }


def _passes(batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    return [batch[start : start + BATCH] for start in range(0, len(batch), BATCH)]
