"""From what which probability on a class must be answered, so that it is found as often as its card promises."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Label

LEAST_OF_CLASS = 20
"""Pictures of a class below which its threshold cannot be fitted: one picture is then more than five points."""


def fit_answers(
    probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], labels: Sequence[Label]
) -> dict[str, float]:
    """Return label to threshold (`Thresholds.answer`), for the classes that fall short of their floor without one.

    The threshold is the largest that finds the promised share of the class's pictures, so that as few others as
    possible are called so.

    Args:
        probabilities: calibrated, float64 [m, C], of held-out validation pictures.
        truth: class of each, int64 [m].
        labels: with their ``sensitivity_floor``.
    """
    answers = {}
    for index, label in enumerate(labels):
        own = probabilities[truth == index]
        if label.sensitivity_floor is None or len(own) < LEAST_OF_CLASS:
            continue
        if np.mean(own.argmax(axis=1) == index) >= label.sensitivity_floor:
            continue
        needed = int(np.ceil(label.sensitivity_floor * len(own) - 1e-9))
        answers[label.id] = float(np.floor(np.sort(own[:, index])[len(own) - needed] * 1e6) / 1e6)
    return {label: least for label, least in answers.items() if least > 0}
