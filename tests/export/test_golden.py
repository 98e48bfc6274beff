"""The golden tolerance of an 8-bit file lets roundings pass, and nothing that answers with the labels exchanged."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Settings
from kdlight_edge.engines import Outputs, open_engine
from kdlight_edge.errors import ParityError
from kdlight_export import forge
from kdlight_export.parity import Parity, compare

FAR = 50.0
"""How far 8 bits move the logits of one odd picture here; those of the golden ones have less than 15."""


class Exchanged:
    """An engine that answers with the logits of the other label."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.name, self.artifact, self.concurrent = engine, engine.name, engine.artifact, True

    def run(self, batch: Any, *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3]."""
        found = self._engine.run(batch, cam=cam)
        return Outputs(found.logits[:, ::-1], found.cam, found.outlier)

    def __enter__(self) -> "Exchanged":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.__exit__(None, None, None)


@pytest.fixture
def with_an_odd_picture(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle of whose held-out pictures 8 bits move one far."""

    def odd(*given: Any) -> Parity:
        found = compare(*given)
        eight = given[0].artifact.precision == "int8"
        return dataclasses.replace(found, max_difference=FAR) if eight else found

    monkeypatch.setattr(forge, "compare", odd)
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "rpi", "--int8", "on", "--out", str(out)]) == 0
    return out


def test_one_odd_picture_does_not_widen_the_tolerance(with_an_odd_picture: Path) -> None:
    manifest = open_bundle(with_an_odd_picture).manifest
    golden = manifest.golden
    assert manifest.artifacts[0].max_logit_difference == FAR
    exact, rounded = (np.array(golden.logits[file]) for file in ("student.onnx", "student.int8.onnx"))
    assert golden.allowed("student.int8.onnx") == max(0.05, round(2 * float(np.abs(rounded - exact).max()), 4))


def test_an_engine_that_exchanges_the_labels_is_found_out_beside_an_odd_picture(with_an_odd_picture: Path) -> None:
    bundle = open_bundle(with_an_odd_picture)
    engine = Exchanged(open_engine(bundle, threads=1))
    with Classifier(bundle, engine, Settings()) as classifier, pytest.raises(ParityError, match="logits off by"):
        classifier.verify()
