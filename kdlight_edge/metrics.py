"""Probabilities and true classes to the figures of a report: the same code judges training, export and the runtime."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError

Floats = npt.NDArray[Any]
"""float32 or float64; everything is reckoned in float64."""

ECE_BINS = 15
"""As in Guo et al., ICML 2017, but of equal mass: a confident model leaves most bins of equal width empty."""

DRAWS = 200
"""How often it is drawn which answers would be right, for `ece_by_chance`."""

Z95 = 1.959963984540054
"""The 0.975 quantile of the normal distribution."""

SMALLEST = 1e-12
"""Probabilities below are raised to it before the logarithm, so that one sure mistake does not make NLL infinite."""


def figures(
    probabilities: Floats,
    truth: npt.NDArray[Any],
    ids: Sequence[str],
    positive: Sequence[bool] | None = None,
    answered: npt.NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Judge a classifier's probabilities against the truth.

    Args:
        probabilities: float [n, C], rows that sum to 1.
        truth: int [n], index of the true class.
        ids: the C names of the classes.
        positive: which class is the one that matters (a crack, a disease); only the two-class AUC asks, and takes
            index 1 where none, or more than one, is marked.
        answered: int [n], the class that was answered, where a threshold may demand another than the likeliest.

    Returns:
        Plain JSON types. ``n``, ``accuracy``, ``ci95`` (low, high), ``balanced_accuracy`` and ``macro_f1``
        (mean sensitivity, mean F1 of the classes that occur), ``auc`` (two classes: of the positive one; more: mean of
        one against the rest), ``ece``, ``ece_by_chance``, ``nll`` (nats), ``brier`` (0 to 2), ``per_class`` (id to n,
        sensitivity, specificity, precision, f1, auc), ``confusion`` (rows are the truth). A figure that is not defined
        is None.

    Raises:
        DataError: no pictures, shapes that do not belong together, or probabilities that are not finite.
    """
    scores = np.asarray(probabilities, np.float64)
    true = np.asarray(truth)
    _check(scores, true, len(ids))
    table = confusion(scores.argmax(axis=1) if answered is None else answered, true, len(ids))
    per_class = {
        name: {**_one_class(table, index), "auc": auc(scores[:, index], true == index)}
        for index, name in enumerate(ids)
    }
    right = int(np.trace(table))
    return {
        "n": len(true),
        "accuracy": right / len(true),
        "ci95": list(wilson(right, len(true))),
        "balanced_accuracy": _mean([entry["sensitivity"] for entry in per_class.values()]),
        # A class without pictures has an F1 of 0 as soon as one picture is called so, and would halve the mean of two.
        "macro_f1": _mean([entry["f1"] for entry in per_class.values() if entry["n"]]),
        "auc": _overall_auc([entry["auc"] for entry in per_class.values()], positive),
        "ece": ece(scores, true),
        "ece_by_chance": ece_by_chance(scores),
        "nll": nll(scores, true),
        "brier": brier(scores, true),
        "per_class": per_class,
        "confusion": table.tolist(),
    }


def _check(scores: Floats, truth: npt.NDArray[Any], classes: int) -> None:
    if scores.shape != (len(truth), classes):
        raise DataError(f"probabilities of shape {list(scores.shape)} for {len(truth)} pictures and {classes} classes")
    if len(truth) == 0:
        raise DataError("no picture to judge; accuracy needs at least one")
    if not np.isfinite(scores).all():
        raise DataError("probabilities hold NaN or infinity; the model's weights are damaged, train it again")
    if truth.min() < 0 or truth.max() >= classes:
        raise DataError(f"true classes from {truth.min()} to {truth.max()} where 0 to {classes - 1} can be")


def confusion(predicted: npt.NDArray[Any], truth: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    """Count pictures, int64 [C, C], by true class (rows) and predicted class (columns)."""
    cells = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.astype(np.int64).reshape(classes, classes)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the score interval of a share at 95 % (Wilson, JASA 1927).

    It stays inside 0 to 1 and honest for shares near 1, where the usual plus-minus interval collapses to nothing.
    """
    share, square = right / n, Z95 * Z95
    scale = 1 + square / n
    centre = (share + square / (2 * n)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding would miss it by an ulp.
    return (0.0 if right == 0 else centre - half), (1.0 if right == n else centre + half)


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, exact by ranks; a tie counts half (Hanley and McNeil, Radiology 1982).

    ``scores`` is float [n], larger means more likely positive; ``positive`` is bool [n].

    Returns:
        The chance that a positive scores above a negative, or None where one of the two is missing.
    """
    yes = int(np.count_nonzero(positive))
    no = len(positive) - yes
    if yes == 0 or no == 0:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def ece(probabilities: Floats, truth: npt.NDArray[Any]) -> float:
    """Return the expected calibration error of the first label (Naeini et al., AAAI 2015) over bins of equal mass.

    Equal confidences share a bin, so that the order of the pictures does not matter; a bin may be fuller for it.
    ``probabilities`` is float [n, C], ``truth`` int [n].
    """
    return _gap(probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth)


def ece_by_chance(probabilities: Floats) -> float:
    """Return the `ece` that few pictures alone cause: its mean where every confidence is exactly right.

    Seen by drawing which answers would be right, with a fixed seed. An `ece` near it tells of no miscalibration.
    ``probabilities`` is float [n, C].
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    random = np.random.default_rng(0)
    return float(np.mean([_gap(confidence, random.random(len(confidence)) < confidence) for _ in range(DRAWS)]))


def _gap(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    place = np.searchsorted(np.sort(confidence), confidence, side="left") * ECE_BINS // len(confidence)
    gap = np.bincount(place, right - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def nll(probabilities: Floats, truth: npt.NDArray[Any]) -> float:
    """Return the mean negative log-likelihood of ``truth``, int [n], under ``probabilities``, float [n, C], in nats."""
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    # log(1) is 0.0 and its negative prints as -0.0
    return float(-np.log(np.clip(chosen, SMALLEST, 1.0)).mean()) + 0.0


def brier(probabilities: Floats, truth: npt.NDArray[Any]) -> float:
    """Return the score of Brier (Monthly Weather Review 1950) in its first form: squared error summed over classes.

    0 is perfect and 2 the worst; with two classes it is twice the figure that many papers give.
    """
    error = probabilities.astype(np.float64)
    error[np.arange(len(truth)), truth] -= 1
    return float((error * error).sum(axis=1).mean())


def _one_class(table: npt.NDArray[np.int64], index: int) -> dict[str, Any]:
    """Count one class against the rest of a confusion matrix (definitions as in Fawcett, 2006)."""
    hit = int(table[index, index])
    missed = int(table[index].sum()) - hit
    false = int(table[:, index].sum()) - hit
    rest = int(table.sum()) - hit - missed - false
    return {
        "n": hit + missed,
        "sensitivity": _share(hit, hit + missed),
        "specificity": _share(rest, rest + false),
        "precision": _share(hit, hit + false),
        "f1": _share(2 * hit, 2 * hit + missed + false),
    }


def _overall_auc(areas: Sequence[float | None], positive: Sequence[bool] | None) -> float | None:
    if len(areas) != 2:  # noqa: PLR2004 - with more classes, the mean of each against the rest (Provost and Domingos)
        return _mean(areas)
    marked = [index for index, flag in enumerate(positive or ()) if flag]
    return areas[marked[0] if len(marked) == 1 else 1]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
