"""The usual rates of a file are those that the runtime's own rule gives on the held-out pictures."""

import dataclasses
from pathlib import Path

import numpy as np

from kdlight_edge.bundle import open_bundle
from kdlight_edge.manifest import Thresholds, from_json, to_json
from kdlight_export.parity import Parity
from kdlight_export.usual import with_usual

MANIFEST = open_bundle(Path(__file__).parents[2] / "models/surface-crack.kdl").manifest
ARTIFACT = dataclasses.replace(MANIFEST.artifacts[0], temperature=1.0, thresholds=Thresholds(0.9, 2.0), usual={})


def parity(count: int) -> Parity:
    logits = np.zeros((count, len(MANIFEST.labels)), np.float32)
    logits[:, 0] = 9.0
    logits[:10] = 0.0  # of no class
    outlier = np.ones(count, np.float32)
    outlier[10:15] = 3.0
    return Parity(count, 1.0, ("", 1.0), 0.0, 1.0, {}, logits, outlier)


def test_the_rates_are_those_of_the_decisions() -> None:
    assert with_usual(ARTIFACT, MANIFEST, parity(200)).usual == {"abstained": 0.05, "outlier": 0.025}


def test_few_pictures_say_nothing() -> None:
    assert with_usual(ARTIFACT, MANIFEST, parity(60)).usual == {}


def test_a_manifest_with_usual_rates_is_read_back_and_one_without_them_too() -> None:
    told = dataclasses.replace(MANIFEST, artifacts=(with_usual(ARTIFACT, MANIFEST, parity(200)),))
    assert from_json(to_json(told)).artifacts[0].usual == {"abstained": 0.05, "outlier": 0.025}
    record = to_json(MANIFEST)
    assert from_json(record).artifacts[0].usual == MANIFEST.artifacts[0].usual
