"""An inspection with more classes that matter than there are digits."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.manifest import Thresholds

Make = Callable[..., Path]


def every_class_matters(path: Path, demanded: str) -> Path:
    """Write a bundle anew whose answer is always the same class, and whose classes all matter."""
    bundle = open_bundle(path)
    (artifact,) = bundle.manifest.artifacts
    eager = dataclasses.replace(artifact, thresholds=Thresholds(0.0, None, {demanded: 1e-12}))
    labels = tuple(dataclasses.replace(label, positive=True) for label in bundle.manifest.labels)
    files = {artifact.file: (path / artifact.file).read_bytes()}
    write_bundle(path, dataclasses.replace(bundle.manifest, labels=labels, artifacts=(eager,)), files)
    return path


def test_the_tenth_class_and_those_behind_it_have_a_letter_of_one_sign(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = every_class_matters(tiny_bundle([f"damage{n}" for n in range(1, 13)]), "damage12")
    noise = np.random.default_rng(1).integers(90, 200, (96, 128, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    words = ["--source", str(tmp_path / "a.png"), "--tiles", "64", "--overlap", "0", "--report", str(tmp_path / "out")]
    assert main(["infer", "--model", str(model), "--json", *words]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["tiles"]["letters"] == ["CC", "CC"]
    assert (line["coverage_percent"], line["findings"][11]["tiles"], line["findings"][0]["tiles"]) == (100.0, 4, 0)
    plain = cv2.imread(str(tmp_path / "out/pictures/00001.jpg"))
    assert plain is not None
    assert np.abs(plain[0].astype(int) - noise[0]).mean() > 20  # the outline along the edge


def test_more_classes_than_there_are_letters_are_refused(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = every_class_matters(tiny_bundle([f"damage{n}" for n in range(1, 37)]), "damage1")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    assert main(["infer", "--model", str(model), "--tiles", "64", "--source", str(tmp_path / "a.png")]) == 2
    assert "36 classes that matter" in capsys.readouterr().err


def test_classes_of_other_letters_and_of_long_names_have_a_map_of_their_own_each(
    tiny_bundle: Make, tmp_path: Path
) -> None:
    labels = ["裂縫", "剝落", "b" * 250, "b" * 251]
    model = every_class_matters(tiny_bundle(labels), labels[0])
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(1).integers(90, 200, (96, 128, 3), np.uint8))
    words = ["--source", str(tmp_path / "a.png"), "--tiles", "64", "--report", str(tmp_path / "out")]
    for _ in range(2):  # the second takes the pictures of the first away
        assert main(["infer", "--model", str(model), *words]) == 0
        assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == len(labels)
