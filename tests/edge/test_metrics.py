"""The figures of a report, against values reckoned by hand and by brute force."""

import itertools
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.metrics import auc, brier, ece, ece_by_chance, figures, nll, wilson

TWO = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
"""Answers 0, 0, 1, 1, 0."""

TRUTH = np.array([0, 0, 0, 1, 1])


def random_case(classes: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    random = np.random.default_rng(3)
    # Two decimals make ties, which the exact formulas must bear.
    return random.dirichlet(np.ones(classes), 120).round(2), random.integers(0, classes, 120)


def test_a_case_of_five_pictures_gives_the_figures_reckoned_by_hand() -> None:
    found = figures(TWO, TRUTH, ("intact", "crack"))
    assert found["n"] == 5
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["confusion"] == [[2, 1], [1, 1]]
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["nll"] == pytest.approx(-math.log(0.9 * 0.6 * 0.3 * 0.8 * 0.45) / 5)
    assert found["brier"] == pytest.approx(2 * (0.1**2 + 0.4**2 + 0.7**2 + 0.2**2 + 0.55**2) / 5)
    crack = found["per_class"]["crack"]
    assert crack["n"] == 2
    assert crack["sensitivity"] == pytest.approx(1 / 2)
    assert crack["specificity"] == pytest.approx(2 / 3)
    assert crack["precision"] == pytest.approx(1 / 2)
    assert crack["f1"] == pytest.approx(1 / 2)


def test_figures_are_plain_json() -> None:
    probabilities, truth = random_case(4)
    found = figures(probabilities.astype(np.float32), truth, "abcd")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_wilson_interval_has_its_published_values(right: int, n: int, low: float, high: float) -> None:
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("right", range(21))
def test_the_wilson_interval_holds_exactly_the_shares_within_z_standard_errors(right: int) -> None:
    for bound in wilson(right, 20):
        distance = abs(right / 20 - bound)
        assert distance == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / 20), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half(classes: int) -> None:
    probabilities, truth = random_case(classes)
    for index in range(classes):
        yes, no = probabilities[truth == index, index], probabilities[truth != index, index]
        won = sum((a > b) + 0.5 * (a == b) for a, b in itertools.product(yes, no))
        assert auc(probabilities[:, index], truth == index) == pytest.approx(won / (len(yes) * len(no)))


def test_auc_of_several_classes_is_the_mean_of_each_against_the_rest() -> None:
    probabilities, truth = random_case(3)
    found = figures(probabilities, truth, "abc")
    assert found["auc"] == pytest.approx(np.mean([entry["auc"] for entry in found["per_class"].values()]))


def test_auc_of_two_classes_is_that_of_the_positive_one() -> None:
    scores = np.array([[0.9, 0.3], [0.8, 0.2], [0.1, 0.1], [0.2, 0.4]])
    truth = np.array([0, 0, 1, 1])
    assert figures(scores, truth, "ab")["auc"] == pytest.approx(0.5)
    assert figures(scores, truth, "ab", positive=[False, True])["auc"] == pytest.approx(0.5)
    assert figures(scores, truth, "ab", positive=[True, False])["auc"] == pytest.approx(1.0)


def test_ece_of_thirty_different_confidences_is_the_mean_gap_of_fifteen_pairs() -> None:
    confidence = np.linspace(0.52, 0.98, 30)
    right = np.arange(30) % 3 != 0
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    gaps = [abs(right[i : i + 2].mean() - confidence[i : i + 2].mean()) for i in range(0, 30, 2)]
    assert ece(probabilities, np.where(right, 0, 1)) == pytest.approx(np.mean(gaps))


def test_calibrated_answers_show_the_error_that_chance_causes_and_sure_wrong_ones_far_more() -> None:
    random = np.random.default_rng(3)
    confidence = random.uniform(0.55, 0.95, 200)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    seen = [ece(probabilities, np.where(random.random(200) < confidence, 0, 1)) for _ in range(100)]
    expected = ece_by_chance(probabilities)
    assert expected == pytest.approx(np.mean(seen), rel=0.1)
    assert ece_by_chance(np.repeat(probabilities, 16, axis=0)) == pytest.approx(expected / 4, rel=0.15)
    assert ece(probabilities, np.ones(200, int)) > 5 * expected


def test_ece_does_not_depend_on_the_order_of_pictures_with_equal_confidence() -> None:
    probabilities, truth = random_case(3)
    order = np.random.default_rng(1).permutation(len(truth))
    assert ece(probabilities[order], truth[order]) == pytest.approx(ece(probabilities, truth))


def test_pictures_of_one_confidence_share_a_bin() -> None:
    probabilities = np.tile([0.75, 0.25], (40, 1))
    truth = np.repeat([0, 1], [30, 10])
    assert ece(probabilities, truth) == pytest.approx(0.0)


def test_a_perfect_classifier_has_perfect_figures() -> None:
    truth = np.array([0, 1, 2, 2])
    found = figures(np.eye(3)[truth], truth, "abc")
    assert (found["accuracy"], found["macro_f1"], found["auc"]) == (1.0, 1.0, 1.0)
    assert str(found["nll"]) == "0.0"
    assert (found["ece"], found["brier"]) == (0.0, 0.0)


def test_a_sure_mistake_costs_much_and_not_infinitely() -> None:
    wrong = np.array([[1.0, 0.0]])
    assert nll(wrong, np.array([1])) == pytest.approx(-math.log(1e-12))
    assert brier(wrong, np.array([1])) == pytest.approx(2.0)


def test_a_class_without_pictures_has_no_sensitivity_and_does_not_count_in_the_balance() -> None:
    found = figures(np.eye(3)[[0, 1, 1]], np.array([0, 1, 1]), "abc")
    assert found["per_class"]["c"] == {
        "n": 0, "sensitivity": None, "specificity": 1.0, "precision": None, "f1": None, "auc": None,
    }  # fmt: skip
    assert found["balanced_accuracy"] == 1.0
    assert found["macro_f1"] == 1.0


def test_a_class_without_pictures_does_not_lower_the_macro_f1_where_one_is_called_so() -> None:
    answers = np.eye(3)[[0, 1, 1, 2]]
    found = figures(answers, np.array([0, 1, 1, 1]), "abc")
    assert found["per_class"]["c"]["f1"] == 0.0
    assert found["macro_f1"] == pytest.approx((1 + 4 / 5) / 2)
    every = figures(answers, np.array([0, 1, 2, 2]), "abc")
    assert every["macro_f1"] == pytest.approx(np.mean([one["f1"] for one in every["per_class"].values()]))


def test_pictures_of_one_class_only_have_no_auc() -> None:
    assert figures(TWO, np.zeros(5, np.int64), "ab")["auc"] is None


@pytest.mark.parametrize(
    ("probabilities", "truth", "said"),
    [
        (np.empty((0, 2)), np.empty(0, np.int64), "no picture"),
        (TWO, TRUTH[:4], r"shape \[5, 2\] for 4 pictures"),
        (TWO * np.nan, TRUTH, "NaN"),
        (TWO, TRUTH + 1, "1 to 2 where 0 to 1"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    probabilities: npt.NDArray[Any], truth: npt.NDArray[Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        figures(probabilities, truth, "ab")
