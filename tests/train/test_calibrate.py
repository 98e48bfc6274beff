"""Temperature, acceptance and outlier distance on answers whose truth is known."""

import re

import numpy as np
import pytest

from kdlight_edge.decide import softmax
from kdlight_train.calibrate import (
    CONFIDENCE,
    RISK,
    acceptance_of,
    fit_acceptance,
    fit_outlier,
    fit_temperature,
    upper_bound,
)


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


def test_no_mistake_in_validation_makes_nobody_surer_than_they_are() -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(60):
        margin = random.normal(0, 1, 110)
        margin = np.sign(margin) * (3 + 3 * np.abs(margin))  # calibrated: its sigmoid is the chance of the second class
        truth = (random.random(110) < 1 / (1 + np.exp(-margin))).astype(np.int64)
        if np.array_equal(truth, margin > 0):
            found.append(fit_temperature(np.stack([np.zeros(110), margin], axis=1).astype(np.float32), truth))
    assert len(found) > 5
    assert 0.8 < min(found) <= max(found) < 1.25


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


def test_a_false_promise_is_as_rare_as_the_promise_says() -> None:
    random, promised = np.random.default_rng(1), 0
    for _ in range(300):
        sure = np.sort(random.uniform(0.5, 1, 400))
        wrong = random.random(400) < 1.001 * RISK  # as often everywhere: no threshold makes mistakes rarer than RISK
        promised += fit_acceptance(np.stack([sure, 1 - sure], axis=1), wrong.astype(np.int64)) > 0
    assert promised / 300 <= 1 - CONFIDENCE


def test_few_pictures_promise_nothing_by_a_handful_of_them() -> None:
    sure = np.linspace(0.99, 0.51, 120)
    truth = (np.arange(120) >= 62).astype(np.int64)  # the surest 62 without a mistake, all others wrong
    assert upper_bound(0, 60) < RISK, "half of them without a mistake would be enough"
    assert fit_acceptance(np.stack([sure, 1 - sure], axis=1), truth) == 0.0


def test_where_half_of_the_pictures_prove_nothing_more_are_asked_for() -> None:
    sure = np.linspace(0.99, 0.51, 110)
    truth = (np.arange(110) >= 100).astype(np.int64)
    assert fit_acceptance(np.stack([sure, 1 - sure], axis=1), truth) == sure[98]


def test_a_promise_that_cannot_be_kept_accepts_everything() -> None:
    probabilities = np.tile([0.6, 0.4], (100, 1))
    assert fit_acceptance(probabilities, np.arange(100) % 2) == 0.0


@pytest.mark.parametrize(
    ("unsure", "wrong", "said"),
    [
        (
            0,
            0,
            r"every answer is accepted \(300 of 300 validation pictures, 0 of them wrong\): at most 1.0% of .* confi",
        ),
        (
            100,
            50,
            r"answers of probability 0.950 or more are accepted \(300 of 400 .*, 0 of them wrong\): at most 1.0% ",
        ),
        (
            300,
            299,
            r"every answer .* 299 of them wrong\): at most 53.3% .*; no threshold that .* half .* keeps that to 5%$",
        ),
    ],
)
def test_what_the_acceptance_threshold_promises_is_told(unsure: int, wrong: int, said: str) -> None:
    shown = np.concatenate([np.tile([0.95, 0.05], (300, 1)), np.tile([0.6, 0.4], (unsure, 1))])
    truth = np.zeros(300 + unsure, np.int64)
    truth[300 : 300 + wrong] = 1
    if wrong > 100:  # the sure ones too
        truth[:200], truth[300:500] = 1, 0
    assert re.match(said, acceptance_of(shown, truth, fit_acceptance(shown, truth)).told())


def test_the_outlier_distance_is_about_one_at_home_and_larger_elsewhere() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(0, 3, (3, 48))
    truth = random.integers(0, 3, 900)
    home = (centres[truth] + random.normal(0, 1, (900, 48))).astype(np.float32)
    model = fit_outlier(home, truth, 3)
    assert np.median(model.distance(home)) == pytest.approx(1, rel=0.1)
    away = random.normal(0, 1, (200, 48)).astype(np.float32) + 4
    assert model.distance(away).min() > np.quantile(model.distance(home), 0.99)
