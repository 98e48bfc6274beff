"""From what which probability on a class must be answered, so that it is found as often as its card promises."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Label
from kdlight_export.parity import LEAST_PICTURES

LEAST_OF_CLASS = 20
"""Pictures of a class below which its threshold cannot be fitted: one picture is then more than five points."""

ROUNDS = 200
"""Times that thresholds are lowered in turn before they are said to have no end; few are enough where there is one."""

HALVINGS = 10
"""Of the search for what can be kept of floors that cannot be kept together: to a tenth of a point."""

TINY = 1e-9
"""Shares of pictures are compared with this slack."""

Rows = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def fit_answers(probabilities: Rows, truth: Classes, labels: Sequence[Label]) -> dict[str, float]:
    """Return label to threshold (`Thresholds.answer`), for the classes that fall short of their floor without one.

    The thresholds are the largest with which every class is found as often as promised, so that as few others as
    possible are called so. They are fitted together, by the rule of the runtime (`kdlight_edge.decide`), because each
    takes pictures from the other classes. Floors that cannot be kept together are all lowered by the same share, the
    smallest that helps; `shortfalls` tells of it.

    Args:
        probabilities: calibrated, float64 [m, C], of held-out validation pictures.
        truth: class of each, int64 [m].
        labels: with their ``sensitivity_floor``.
    """
    floors = {
        index: label.sensitivity_floor
        for index, label in enumerate(labels)
        if label.sensitivity_floor is not None and np.sum(truth == index) >= LEAST_OF_CLASS
    }
    answers = _together(probabilities, truth, floors)
    if answers is None:
        answers, kept, lost = np.full(len(labels), np.inf), 1.0, 0.0  # without floors nothing is demanded
        for _ in range(HALVINGS):
            less = (kept + lost) / 2
            found = _together(probabilities, truth, {index: floor - less for index, floor in floors.items()})
            if found is None:
                lost = less
            else:
                kept, answers = less, found
    return {label.id: float(least) for label, least in zip(labels, answers, strict=True) if np.isfinite(least)}


def shortfalls(
    probabilities: Rows, truth: Classes, labels: Sequence[Label], answers: Mapping[str, float]
) -> Iterator[str]:
    """Tell, a line each, which classes are found less often than their floor, or not shown to be, thresholds applied.

    Args:
        probabilities: as for `fit_answers`.
        truth: class of each, int64 [m].
        labels: with their ``sensitivity_floor``.
        answers: label to threshold.
    """
    given = _answered(probabilities, np.array([answers.get(label.id, np.inf) for label in labels]))
    for index, label in enumerate(labels):
        own = given[truth == index] == index
        if label.sensitivity_floor is None:
            continue
        if not len(own):
            promised = f"the card promises {label.sensitivity_floor:.2%}"
            yield f"was shown no held-out picture of {label.id}, {promised}: nothing proves it; add validation pictures"
            continue
        if own.mean() >= label.sensitivity_floor - TINY:
            continue
        if len(truth) < LEAST_PICTURES:
            why = (
                f"{len(truth)} in all are too few to fit thresholds ({LEAST_PICTURES} are needed, {LEAST_OF_CLASS} of "
                "the class); add validation pictures"
            )
        elif len(own) < LEAST_OF_CLASS:
            why = f"{len(own)} are too few to fit a threshold ({LEAST_OF_CLASS} are needed); add validation pictures"
        else:
            why = "no thresholds keep every floor of the card at once; lower one, or train a better student"
        yield (
            f"finds {own.mean():.2%} of the {len(own)} held-out pictures of {label.id}, the card promises "
            f"{label.sensitivity_floor:.2%}: {why}"
        )


def _together(probabilities: Rows, truth: Classes, floors: Mapping[int, float]) -> Rows | None:
    """Return the largest thresholds that keep all floors, float64 [C], infinite where none is needed; None without any.

    A lower threshold never finds less of its own class and never more of another. So thresholds that are lowered in
    turn, each as little as its class needs beside the others, stay above every solution until they are one.
    """
    answers = np.full(probabilities.shape[1], np.inf)
    for _ in range(ROUNDS):
        given = _answered(probabilities, answers)
        short = [index for index, floor in floors.items() if np.mean(given[truth == index] == index) < floor - TINY]
        if not short:
            return answers
        for index in short:
            answers[index] = _largest(probabilities[truth == index], index, answers, floors[index])
            if answers[index] <= 0:
                return None
    return None


def _answered(probabilities: Rows, answers: Rows) -> Classes:
    """Return the class that the runtime answers, int64 [m]: of those demanded the one furthest above its threshold."""
    above = np.where(probabilities >= answers, probabilities / answers, 0.0)
    given: Classes = np.where(above.any(axis=1), above.argmax(axis=1), probabilities.argmax(axis=1))
    return given


def _largest(own: Rows, index: int, answers: Rows, floor: float) -> float:
    """Return the largest threshold of a class, to six places, that finds its share of its own pictures, [n, C]."""
    others = np.where(np.arange(own.shape[1]) == index, np.inf, answers)
    rival = np.where(own >= others, own / others, 0.0).max(axis=1)
    # A picture that no other class demands is found without a threshold where its own class is the likeliest.
    free = np.where(own.argmax(axis=1) == index, np.inf, own[:, index])
    limits = np.sort(np.where(rival > 0, own[:, index] / np.maximum(rival, 1.0) - TINY, free))
    needed = int(np.ceil(floor * len(own) - TINY))
    return float(np.floor(limits[len(own) - needed] * 1e6) / 1e6)
