"""Whether an engine answers as the student it was made from, from encoded bytes to logits."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdlight_edge.engines import Engine
from kdlight_edge.errors import ParityError
from kdlight_edge.manifest import Input
from kdlight_edge.prepare import prepare_input
from kdlight_export.encoded import encoded_golden

Logits = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

LIMITS = {"fp32": (1e-3, 1.0), "fp16": (5e-2, 0.998), "int8": (float("inf"), 0.99)}
"""Precision to the largest |Δlogit| and the smallest share of equal first labels, over all and in each class."""

LEAST_PICTURES = 100
"""Held-out pictures below which nothing can be judged or fitted: one picture is then more than a point of accuracy."""

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
    kinds: tuple[str, ...] = ()
    """Kinds of file that the procedural ones were read from, for people."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What a comparison found."""

    pictures: int
    """Pictures whose first labels were compared."""
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


def gather(
    pictures: Sequence[tuple[npt.NDArray[np.uint8], int]], seeds: Sequence[int], spec: Input, reference: Logits
) -> Proof:
    """Read procedural pictures as the runtime does, beside held-out ones (`run_pictures`), and ask the student.

    Of a procedural file without loss the student sees the pixels that were written, the engines what was read: a
    decoder that changes them differs. DICOM objects are among them where pydicom is installed.
    """
    held_out = [picture for picture, _ in pictures]
    files = encoded_golden(seeds, dicom=importlib.util.find_spec("pydicom") is not None)
    batch = np.stack([*held_out, *(prepare_input(file.seen(), spec) for file in files)])
    known = np.stack([*held_out, *(prepare_input(file.known(), spec) for file in files)])
    wanted = np.concatenate([reference(part) for part in _passes(known)])
    kinds = tuple(dict.fromkeys(file.kind for file in files))
    return Proof(batch, wanted, np.array([label for _, label in pictures], np.int64), kinds)


def compare(engine: Engine, labels: Sequence[str], proof: Proof) -> Parity:
    """Run an engine over the pictures and compare it with the student and with the truth.

    First labels of INT8 are compared on the held-out pictures where there are enough: clouds are nothing that it was
    calibrated on. The largest |Δlogit| is over all.
    """
    answers = [engine.run(part) for part in _passes(proof.batch)]
    got = np.concatenate([answer.logits for answer in answers])
    outlier = np.concatenate([answer.outlier for answer in answers])
    first, expected, held_out = got.argmax(axis=1), proof.wanted.argmax(axis=1), len(proof.truth)
    judged = held_out if engine.artifact.precision == "int8" and held_out >= LEAST_PICTURES else len(got)
    same = (first == expected)[:judged]
    shares = _by_class(same, expected[:judged], labels)
    right = first[:held_out] == proof.truth
    return Parity(
        judged, float(same.mean()), min(shares.items(), key=lambda entry: entry[1]),
        float(np.abs(got - proof.wanted).max()), float(right.mean()) if held_out else None,
        _by_class(right, proof.truth, labels), got[:held_out], outlier[:held_out],
    )  # fmt: skip


def complaint(parity: Parity, precision: str) -> str | None:
    """Tell what of a comparison is outside the limits of its precision; None where all is within."""
    difference, agreement = LIMITS[precision]
    if parity.max_difference <= difference and parity.worst_class[1] >= agreement:
        return None
    limit = "" if math.isinf(difference) else f" (limit {difference:g})"
    return (
        f"answers differently from the student: max |Δlogit| {parity.max_difference:.3g}{limit}, "
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
