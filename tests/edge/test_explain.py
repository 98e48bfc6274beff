"""``infer --explain``: the map lies over what drove the decided class, and only where a picture is drawn."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.classifier import Classifier
from kdlight_edge.cli import main
from kdlight_edge.engines import Engine, Outputs
from kdlight_edge.explain import explained
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.annotated import Annotated


class Bright:
    """An engine that sees the second class wherever the picture is bright, and the first one nowhere."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.artifact, self.concurrent = engine.name, engine.artifact, True

    def run(self, batch: npt.NDArray[Any], *, cam: bool = False) -> Outputs:
        """Answer as an engine does: the logits are the means of the planes of 8 by 8 places."""
        count, side = len(batch), batch.shape[1]
        seen = batch.mean(axis=3).reshape(count, 8, side // 8, 8, side // 8).mean(axis=(2, 4))
        planes = np.stack([np.zeros_like(seen), (seen > 120) * 5.0], axis=1).astype(np.float32)
        return Outputs(planes.mean(axis=(2, 3)), planes if cam else None, np.zeros(count, np.float32))

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("corner", [(0, 0), (150, 200)])
def test_the_map_of_the_decided_class_glows_over_what_drove_it_and_nowhere_else(
    tmp_path: Path, classifier: Classifier, corner: tuple[int, int]
) -> None:
    top, left = corner
    picture = np.full((300, 400, 3), 30, np.uint8)
    picture[top : top + 150, left : left + 200] = 220
    fake: Any = Bright(classifier.engine)
    seeing = Classifier(classifier.bundle, fake, classifier.settings)
    second = seeing.bundle.manifest.labels[1].id
    answered = seeing.classify(Frame(picture, Moment.now(), "a.jpg", 0))
    assert answered.label == second
    plain, lit = (
        Annotated(tmp_path, seeing.bundle.manifest, explain).draw(answered, picture).astype(int)
        for explain in (None, functools.partial(explained, seeing))
    )
    red = (lit - plain)[..., 0] - (lit - plain)[..., 2]
    assert red[top + 40 : top + 90, left + 50 : left + 150].min() > 40
    red[max(0, top - 40) : top + 190, max(0, left - 50) : left + 250] = 0
    assert np.abs(red).max() < 8
    assert (picture[top, left] == 220).all()


def test_explain_says_nothing_without_pictures_to_draw_on(
    tiny_bundle: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), np.full((40, 50, 3), (0, 0, 220), np.uint8))
    run = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle(accept=0.0)), "--explain"]
    assert main(run) == 2
    said = capfd.readouterr().err
    assert "--explain says nothing without --save, --save-video or --event-dir" in said
    assert len(said.splitlines()) == 1
    assert main([*run, "--save", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/a.png.jpg").exists()
