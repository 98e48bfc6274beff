"""The gate before a decision: what cannot be seen is not judged, and the reason is told."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Settings
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.golden import golden_picture
from kdlight_edge.quality import Quality

SCENE = "scene:crack?size=128x128&fps=50&frames=20"


def scaled(gain: float, offset: float = 0) -> npt.NDArray[np.uint8]:
    """A textured picture, brighter or darker."""
    picture = np.clip(golden_picture(1).astype(np.float64) * gain + offset, 0, 255)
    return picture.astype(np.uint8)[:128, :128]


def board() -> npt.NDArray[np.uint8]:
    """Four large fields, black and white."""
    fields = np.kron(np.array([[30, 220], [220, 30]], np.uint8), np.ones((64, 64), np.uint8))
    return np.repeat(fields[..., np.newaxis], 3, axis=2)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (scaled(0.1), "dark: mean grey level"),
        (scaled(3, 160), "over-exposed: "),
        (np.full((128, 128, 3), 120, np.uint8), "empty: grey level varies by 0.0"),
        (cv2.GaussianBlur(board(), (0, 0), 8), "blurred: sharpness"),
        (scaled(1), ""),
    ],
)
def test_each_fault_of_a_picture_has_its_reason(picture: npt.NDArray[np.uint8], reason: str) -> None:
    said = Quality().look(picture)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_a_dark_picture_must_become_clearly_lighter_before_it_is_let_in_again() -> None:
    between = scaled(20 / scaled(1).mean())
    quality = Quality()
    assert quality.look(between) == ""
    assert quality.look(scaled(0.05)).startswith("dark")
    assert quality.look(between).startswith("dark")
    assert quality.look(scaled(1)) == ""
    assert quality.look(between) == ""


def test_an_over_exposed_picture_must_become_clearly_darker_before_it_is_let_in_again() -> None:
    half, most = scaled(1), scaled(1)
    half[:64], most[:96] = 255, 255
    quality = Quality()
    assert [quality.look(one).partition(":")[0] for one in (half, most, half, scaled(1), half)] == [
        "", "over-exposed", "over-exposed", "", "",
    ]  # fmt: skip


def test_a_picture_that_cannot_be_judged_is_abstained_from_with_the_reason(tiny_bundle: Callable[..., Path]) -> None:
    red = np.full((64, 64, 3), (220, 0, 0), np.uint8)
    with open_classifier(tiny_bundle(), settings=Settings(quality=True)) as classifier:
        prediction = classifier.classify(Frame(red, Moment.now(), "cam", 0), Quality())
        assert (prediction.decision, prediction.label) == ("abstained", "crack")
        assert prediction.reason.startswith("empty")
        assert classifier.classify(Frame(red, Moment.now(), "cam", 1)).decision == "accepted"


def test_a_camera_that_sees_is_not_held_up_by_the_gate(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--camera", SCENE, "--model", str(tiny_bundle()), "--quality", "--json"]) == 0
    reasons = [json.loads(line)["reason"] for line in capfd.readouterr().out.splitlines()]
    assert not [reason for reason in reasons if reason.startswith(("dark", "over", "empty", "blurred"))]
