"""Thresholds that find what the card promises, and no more than that."""

import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Label
from kdlight_export.sensitivity import fit_answers


def pictures(n: int = 200) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(4)
    truth = np.arange(n) % 2
    crack = np.clip(rng.normal(np.where(truth == 0, 0.6, 0.2), 0.2), 0.01, 0.99)
    return np.stack([crack, 1 - crack], axis=1), truth


def found(threshold: float) -> float:
    chances, truth = pictures()
    return float((chances[truth == 0, 0] >= threshold).mean())


def test_the_threshold_is_the_largest_that_keeps_the_promise() -> None:
    chances, truth = pictures()
    assert found(0.5) < 0.95
    answers = fit_answers(chances, truth, [Label("crack", "", sensitivity_floor=0.95), Label("none", "")])
    assert set(answers) == {"crack"}
    assert found(answers["crack"]) >= 0.95 > found(answers["crack"] + 2e-2)


def test_a_class_that_keeps_its_promise_needs_none() -> None:
    chances, truth = pictures()
    assert fit_answers(chances, truth, [Label("crack", "", sensitivity_floor=0.3), Label("none", "")]) == {}


def test_too_few_pictures_fit_nothing() -> None:
    chances, truth = pictures(30)
    assert fit_answers(chances, truth, [Label("crack", "", sensitivity_floor=0.95), Label("none", "")]) == {}
