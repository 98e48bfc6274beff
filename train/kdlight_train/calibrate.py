"""What turns logits and features into trust: temperature, acceptance threshold and outlier distance, on validation."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RISK = 0.05
"""Share of mistakes among accepted pictures that the acceptance threshold promises to stay under."""

CONFIDENCE = 0.95
"""How sure that promise is, over the draw of the validation pictures."""

COVERAGES = tuple(share / 20 for share in range(10, 21))
"""Shares of the pictures that the thresholds which are tried accept. Fewer than half would not be useful."""

PRINCIPAL = 32
"""Directions of the feature space that the outlier distance resolves one by one."""

OUTLIER_QUANTILE = 0.99
"""Share of validation pictures below the outlier threshold."""

Floats = npt.NDArray[np.floating[Any]]


def fit_temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Return the temperature with the smallest negative log-likelihood (Guo et al., ICML 2017), from 0.05 to 20.

    As if one picture more had been answered wrong (Platt, 1999, for two classes): a network that happens to make no
    mistake on these pictures would otherwise be the more likely the surer it is, and no temperature too low.
    Golden-section search over the logarithm; the likelihood has one minimum there.
    """
    rows, doubt = np.arange(len(truth)), 1 / (len(truth) + 2)
    target = np.full(logits.shape, doubt / (logits.shape[1] - 1))
    target[rows, truth] = 1 - doubt

    def cost(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(((np.log(np.exp(scaled).sum(axis=1, keepdims=True)) - scaled) * target).sum(axis=1).mean())

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

    Thresholds are tried in a fixed order, from the one that accepts the fewest pictures, as long as the Clopper-Pearson
    upper bound (at `CONFIDENCE`) of the share of mistakes is at most `RISK`; the last that holds is the one. The best
    of all thresholds instead would hold by chance alone far more often than the bound says (fixed-sequence testing:
    Angelopoulos et al., Learn then Test, 2021). 0 where the first does not hold, or all do.
    """
    best = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != truth
    order = np.argsort(-best, kind="stable")
    ranked, mistakes = best[order], np.cumsum(wrong[order])
    found = 0.0
    for share in COVERAGES:
        accepted = math.ceil(share * len(order))
        if accepted < len(order) and upper_bound(1, accepted) > RISK:
            continue  # so few that a single mistake would end it: more are asked for before anything is tried
        # A threshold cannot part equal probabilities.
        accepted = int(np.searchsorted(-ranked, -ranked[accepted - 1], side="right"))
        if upper_bound(int(mistakes[accepted - 1]), accepted) > RISK:
            return found
        found = float(ranked[accepted - 1])
    return 0.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an acceptance threshold does with the validation pictures that it was fitted on."""

    threshold: float
    pictures: int
    accepted: int
    """How many of them."""
    wrong: int
    """How many of these."""
    bound: float
    """Share of mistakes among accepted pictures that is not exceeded, at `CONFIDENCE`."""
    proved: bool
    """Whether that is `RISK` or less; where it is not, no threshold was found and every answer is accepted."""

    def told(self) -> str:
        """Return it for people."""
        which = f"answers of probability {self.threshold:.3f} or more are" if self.threshold else "every answer is"
        seen = f"{self.accepted:,} of {self.pictures:,} validation pictures, {self.wrong:,} of them wrong"
        sure = f"at most {self.bound:.1%} of such answers are wrong, with {CONFIDENCE:.0%} confidence"
        short = "" if self.proved else f"; no threshold that accepts half of them or more keeps that to {RISK:.0%}"
        return f"{which} accepted ({seen}): {sure}{short}"


def acceptance_of(probabilities: Floats, truth: npt.NDArray[np.int64], threshold: float) -> Acceptance:
    """Return what a threshold of `fit_acceptance` does with the pictures that it was fitted on."""
    taken = probabilities.max(axis=1) >= threshold
    accepted, wrong = int(taken.sum()), int((taken & (probabilities.argmax(axis=1) != truth)).sum())
    bound = upper_bound(wrong, accepted)
    return Acceptance(threshold, len(truth), accepted, wrong, bound, bound <= RISK)


def upper_bound(events: int, trials: int) -> float:
    """Return the one-sided upper Clopper-Pearson bound (Biometrika 1934) of a share at `CONFIDENCE`, by bisection."""
    if events >= trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _at_most(events, trials, middle) > 1 - CONFIDENCE:
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
    foreign pictures were shown, the log odds of each kind count too where they are positive (`kdlight_train.foreign`).
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
    planes: npt.NDArray[np.float32] | None = None
    """float32 [K, D]: with ``offsets``, the log odds of K kinds of foreign pictures, linear in the centred feature."""
    offsets: npt.NDArray[np.float32] | None = None
    """float32 [K]."""

    def distance(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return float32 [n] for features float32 [n, D]."""
        centred = features - self.mean
        inside = centred @ self.basis.T
        scaled = inside / self.scale
        nearest = ((scaled[:, None] - self.centres[None]) ** 2).sum(axis=2).min(axis=1)
        left = np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
        square = (nearest + left / self.residual) / features.shape[1]
        if self.planes is not None and self.offsets is not None:
            square = square + np.maximum(centred @ self.planes.T + self.offsets, 0).sum(axis=1)
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
