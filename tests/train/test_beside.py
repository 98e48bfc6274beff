"""A student beside its teacher on the same pictures."""

import itertools
import math

import numpy as np
import pytest

from kdlight_train.beside import compare, told


def answers(both: int, mine: int, theirs: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of two networks that are right together, alone or not at all so often, and the truth."""
    right = np.repeat([[True, True], [True, False], [False, True], [False, False]], [both, mine, theirs, neither], 0)
    truth = np.arange(len(right)) % 3
    one, other = (np.eye(3, dtype=np.float32)[np.where(found, truth, (truth + 1) % 3)] for found in right.T)
    return one, other, truth


def test_the_interval_has_its_published_values() -> None:
    # Agresti, Categorical Data Analysis, 10.1.1: approval of 1,600 people asked twice, without the half pictures.
    found = compare(*answers(794, 86, 150, 570))
    assert (found["gained"], found["lost"]) == (86, 150)
    assert found["accuracy"] == pytest.approx(-0.04)
    assert found["ci95"] == pytest.approx([-0.059, -0.021], abs=5e-4)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    n, gain, loss = 40, 0.05, 0.12
    covered = 0.0
    for gained, lost in itertools.product(range(n + 1), repeat=2):
        if gained + lost > n:
            continue
        chance = math.comb(n, gained) * math.comb(n - gained, lost) * gain**gained * loss**lost
        chance *= (1 - gain - loss) ** (n - gained - lost)
        if chance > 1e-9:
            low, high = compare(*answers(n - gained - lost, gained, lost, 0))["ci95"]
            covered += chance * (low <= gain - loss <= high)
    assert 0.93 < covered < 0.98


def test_networks_that_answer_alike_are_not_certain_to_be_equal() -> None:
    low, high = compare(*answers(30, 0, 0, 10))["ci95"]
    assert low == -high < 0


def test_the_difference_is_told_with_its_interval() -> None:
    line = told("test", {"accuracy": -0.048, "ci95": [-0.1, 0.004], "gained": 9, "lost": 19})
    assert line == (
        "student less teacher: -4.8 points of test accuracy (-10.0 to +0.4, on the same pictures: 9 right that the "
        "teacher has wrong, 19 the other way round)"
    )
