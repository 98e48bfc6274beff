"""Thresholds that find what the card promises, and no more than that."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.decide import Settings, decide, softmax
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.manifest import Artifact, Card, Golden, Input, Label, Manifest, Provenance, Thresholds
from kdlight_export.sensitivity import fit_answers, shortfalls


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


@dataclass(frozen=True)
class Seen:
    """900 pictures of three classes, each as easy as its shift says, with the floors of the classes."""

    shift: tuple[float, float, float]
    floors: tuple[float, float, float]

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """float32 [900, 3]."""
        logits = np.random.default_rng(1).normal(0, 1, (900, 3)).astype(np.float32)
        logits[np.arange(900), self.truth] += np.array(self.shift, np.float32)[self.truth]
        return logits

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """int64 [900]."""
        return np.repeat(np.arange(3), 300)

    @property
    def labels(self) -> tuple[Label, ...]:
        """a, b and c."""
        return tuple(Label(name, "", sensitivity_floor=floor) for name, floor in zip("abc", self.floors, strict=True))

    def answers(self) -> dict[str, float]:
        """Return the thresholds that are fitted to them."""
        return fit_answers(softmax(self.logits, 1.0), self.truth, self.labels)

    def short(self, answers: Mapping[str, float]) -> list[str]:
        """Return what is told of thresholds."""
        return list(shortfalls(softmax(self.logits, 1.0), self.truth, self.labels, answers))

    def recalls(self, answers: Mapping[str, float]) -> list[float]:
        """Return how much of each class the runtime itself finds."""
        artifact = Artifact("m.onnx", "onnx", "fp32", "0" * 64, 1, 1.0, Thresholds(0.0, None, dict(answers)))
        manifest = Manifest(
            1, "wall", "1", "small", 1, 1, self.labels, Input(8, 8), (artifact,), Golden((1,), 0.1, {}),
            Provenance("t", "kl", {}, {}, {}, "2026-01-01", {}), Card("a", "b", "c"),
        )  # fmt: skip
        frame = Frame(np.zeros((1, 1, 3), np.uint8), Moment.now(), "", 0)
        given = np.array([decide(frame, row, 0.0, manifest, artifact, Settings()).label for row in self.logits])
        return [float((given == label.id)[self.truth == index].mean()) for index, label in enumerate(self.labels)]


def test_a_class_that_kept_its_promise_keeps_it_beside_the_threshold_of_another() -> None:
    seen = Seen((2.0, 3.2, 2.6), (0.95, 0.95, 0.9))
    without, answers = seen.recalls({}), seen.answers()
    assert without[0] < 0.95
    assert without[2] >= 0.9
    alone = fit_answers(softmax(seen.logits, 1.0), seen.truth, (seen.labels[0], Label("b", ""), Label("c", "")))
    assert seen.recalls(alone)[2] < 0.9  # what the one class demands is taken from the other
    assert all(share >= floor for share, floor in zip(seen.recalls(answers), seen.floors, strict=True))
    assert seen.short(answers) == []
    for label, least in answers.items():
        assert seen.short({**answers, label: least + 1e-3})  # none could be much larger


def test_floors_that_cannot_be_kept_together_are_told_class_by_class() -> None:
    seen = Seen((1.0, 1.2, 3.5), (0.9, 0.95, 0.5))
    answers = seen.answers()
    found = seen.recalls(answers)
    assert seen.short(answers) == [
        f"finds {share:.2%} of the 300 held-out pictures of {label}, the card promises {floor:.2%}: no thresholds keep "
        "every floor of the card at once; lower one, or train a better student"
        for label, share, floor in (("a", found[0], 0.9), ("b", found[1], 0.95))
    ]
    assert abs((0.9 - found[0]) - (0.95 - found[1])) < 0.01  # both lose alike


def test_a_class_of_too_few_pictures_is_told() -> None:
    chances, truth = pictures(200)
    kept = np.concatenate([np.flatnonzero(truth == 0)[:15], np.flatnonzero(truth == 1)])
    labels = [Label("crack", "", sensitivity_floor=0.95), Label("none", "")]
    (line,) = shortfalls(chances[kept], truth[kept], labels, {})
    assert "held-out pictures of crack" in line
    assert "15 are too few to fit a threshold (20 are needed)" in line


@pytest.mark.parametrize("shown", [120, 0])
def test_a_floor_of_a_class_without_a_held_out_picture_is_told(shown: int) -> None:
    probabilities, truth = np.tile([0.1, 0.9], (shown, 1)), np.ones(shown, np.int64)
    labels = (Label("crack", "crack", sensitivity_floor=0.95), Label("sound", "sound"))
    assert list(shortfalls(probabilities, truth, labels, {})) == [
        "was shown no held-out picture of crack, the card promises 95.00%: nothing proves it; add validation pictures"
    ]


def test_too_few_pictures_in_all_are_told() -> None:
    chances, truth = pictures(60)
    (line,) = shortfalls(chances, truth, [Label("crack", "", sensitivity_floor=0.95), Label("none", "")], {})
    assert "of the 30 held-out pictures of crack" in line
    assert "60 in all are too few to fit thresholds (100 are needed, 20 of the class); add validation" in line
