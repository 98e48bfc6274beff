"""Temperature, acceptance and outlier distance on answers whose truth is known."""

import numpy as np
import pytest

from kdlight_edge.decide import softmax
from kdlight_train.calibrate import fit_acceptance, fit_outlier, fit_temperature, upper_bound


def draw(count: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits and labels such that softmax(logits) is the true chance, then sharpen the logits."""
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (count, 3)).astype(np.float32)
    chances = softmax(logits, 1.0).cumsum(axis=1)
    truth = (random.random((count, 1)) > chances).sum(axis=1)
    return logits * np.float32(sharpness), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_over_and_under_confidence(sharpness: float) -> None:
    logits, truth = draw(20000, sharpness)
    assert fit_temperature(logits, truth) == pytest.approx(sharpness, rel=0.08)


def test_the_upper_bound_is_clopper_pearsons() -> None:
    # No event in n trials: 1 - 0.05^(1/n), in closed form.
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-9)
    assert upper_bound(0, 59) < 0.05 < upper_bound(0, 58)
    assert upper_bound(5, 5) == 1.0
    # Table value: 3 of 30 at one-sided 95 %.
    assert upper_bound(3, 30) == pytest.approx(0.2386, abs=2e-4)


def test_everything_is_accepted_when_mistakes_are_rare_enough_anyway() -> None:
    probabilities = np.tile([0.9, 0.1], (200, 1))
    assert fit_acceptance(probabilities, np.zeros(200, np.int64)) == 0.0


def test_unsure_answers_are_turned_away_until_the_promise_holds() -> None:
    sure, unsure = np.tile([0.95, 0.05], (300, 1)), np.tile([0.6, 0.4], (100, 1))
    truth = np.concatenate([np.zeros(300, np.int64), np.arange(100) % 2])
    assert fit_acceptance(np.concatenate([sure, unsure]), truth) == pytest.approx(0.95)


def test_a_promise_that_cannot_be_kept_accepts_everything() -> None:
    probabilities = np.tile([0.6, 0.4], (100, 1))
    assert fit_acceptance(probabilities, np.arange(100) % 2) == 0.0


def test_the_outlier_distance_is_about_one_at_home_and_larger_elsewhere() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(0, 3, (3, 48))
    truth = random.integers(0, 3, 900)
    home = (centres[truth] + random.normal(0, 1, (900, 48))).astype(np.float32)
    model = fit_outlier(home, truth, 3)
    assert np.median(model.distance(home)) == pytest.approx(1, rel=0.1)
    away = random.normal(0, 1, (200, 48)).astype(np.float32) + 4
    assert model.distance(away).min() > np.quantile(model.distance(home), 0.99)
