"""What turns logits and features into trust: temperature, acceptance threshold and outlier distance, on validation."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.decide import softmax

RISK = 0.05
"""Share of mistakes among accepted pictures that the acceptance threshold promises to stay under."""

CONFIDENCE = 0.95
"""How sure that promise is, over the draw of the validation pictures."""

LEAST_COVERAGE = 0.5
"""A threshold that accepts fewer pictures than this is not useful: then every picture is accepted."""

PRINCIPAL = 32
"""Directions of the feature space that the outlier distance resolves one by one."""

OUTLIER_QUANTILE = 0.99
"""Share of validation pictures below the outlier threshold."""

Floats = npt.NDArray[np.floating[Any]]


def fit_temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Return the temperature with the smallest negative log-likelihood (Guo et al., ICML 2017), from 0.05 to 20.

    Golden-section search over the logarithm; the likelihood has one minimum there.
    """
    rows = np.arange(len(truth))

    def cost(log_temperature: float) -> float:
        probabilities = softmax(logits, math.exp(log_temperature))
        return float(-np.log(np.maximum(probabilities[rows, truth], 1e-12)).mean())

    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def fit_acceptance(probabilities: Floats, truth: npt.NDArray[np.int64]) -> float:
    """Return the smallest probability to accept so that mistakes among accepted pictures are proved rare.

    The threshold is the lowest for which the Clopper-Pearson upper bound (at `CONFIDENCE`) of the share of mistakes is
    at most `RISK`; 0 where no threshold that accepts at least half of the pictures can promise that.
    """
    best = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != truth
    order = np.argsort(-best, kind="stable")
    mistakes = np.cumsum(wrong[order])
    ranked = best[order]
    for accepted in range(len(order), math.ceil(len(order) * LEAST_COVERAGE), -1):
        if accepted < len(order) and ranked[accepted - 1] == ranked[accepted]:
            continue  # a threshold cannot part equal probabilities
        if upper_bound(int(mistakes[accepted - 1]), accepted) <= RISK:
            return 0.0 if accepted == len(order) else float(ranked[accepted - 1])
    return 0.0


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper Clopper-Pearson bound (Biometrika 1934) of a share, by bisection."""
    if events >= trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _at_most(events, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(events: int, trials: int, share: float) -> float:
    """Return the chance of ``events`` or fewer in ``trials``, by logarithms so that thousands of trials are exact."""
    if share <= 0 or share >= 1:
        return float(share <= 0)
    total = 0.0
    for count in range(events + 1):
        ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        total += math.exp(ways + count * math.log(share) + (trials - count) * math.log1p(-share))
    return total


@dataclass(frozen=True, slots=True)
class OutlierModel:
    """A distance of features from the training set that costs a few thousand multiply-adds.

    In the ``k`` principal directions the nearest class centre counts (Mahalanobis with one shared diagonal covariance),
    in all others the length of what is left over (the residual of ViM; Wang et al., CVPR 2022). 1 is usual. Where
    foreign pictures were shown, their log odds count too where they are positive (`kdlight_train.foreign`).
    """

    mean: npt.NDArray[np.float32]
    """float32 [D], of all training features."""
    basis: npt.NDArray[np.float32]
    """float32 [k, D], orthonormal rows."""
    scale: npt.NDArray[np.float32]
    """float32 [k], deviation within the classes along each row."""
    centres: npt.NDArray[np.float32]
    """float32 [C, k], class means in the basis, divided by ``scale``."""
    residual: float
    """Mean square of a feature's coordinate outside the basis."""
    plane: npt.NDArray[np.float32] | None = None
    """float32 [D]: with ``offset``, the log odds of a foreign picture, linear in the feature less ``mean``."""
    offset: float = 0.0

    def distance(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return float32 [n] for features float32 [n, D]."""
        centred = features - self.mean
        inside = centred @ self.basis.T
        scaled = inside / self.scale
        nearest = ((scaled[:, None] - self.centres[None]) ** 2).sum(axis=2).min(axis=1)
        left = np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
        square = (nearest + left / self.residual) / features.shape[1]
        if self.plane is not None:
            square = square + np.maximum(centred @ self.plane + self.offset, 0)
        result: npt.NDArray[np.float32] = np.sqrt(square)
        return result.astype(np.float32)


def fit_outlier(features: npt.NDArray[np.float32], truth: npt.NDArray[np.int64], classes: int) -> OutlierModel:
    """Fit the distance to training features, float32 [n, D].

    Args:
        features: of unchanged training pictures.
        truth: int64 [n].
        classes: C.
    """
    values = features.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    k = min(PRINCIPAL, len(values) - 1, values.shape[1] - 1)
    basis = np.linalg.eigh(centred.T @ centred / len(values))[1][:, ::-1][:, :k].T
    inside = centred @ basis.T
    centres = np.stack([inside[truth == label].mean(axis=0) for label in range(classes)])
    variance = ((inside - centres[truth]) ** 2).mean(axis=0)
    scale = np.sqrt(variance + 1e-3 * variance.mean() + 1e-12)
    left = (centred**2).sum(axis=1).mean() - (inside**2).sum(axis=1).mean()
    residual = max(float(left) / (values.shape[1] - k), 1e-9 * float(variance.mean()) + 1e-12)
    single = np.float32
    return OutlierModel(
        mean.astype(single), basis.astype(single), scale.astype(single), (centres / scale).astype(single), residual
    )
