"""A bundle built anew from its own float file and the pictures it was trained on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_edge.golden import golden_picture
from kdlight_edge.prepare import prepare_input
from kdlight_export.onnx_from_student import onnx_from_student, reference
from kdlight_train import finished
from kdlight_train.data import open_data
from kdlight_train.finished import Finished
from kdlight_train.weights_from_onnx import weights_from_onnx

CARD = """
name = "wall"
version = "1.2.0"
intended_use = "Sorting pictures of walls."
data_terms = "CC0"
[labels.crack]
text = "Crack"
positive = true
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of pictures of two classes."""
    for seed in range(48):
        file = tmp_path / "data" / "train" / ("crack" if seed % 2 else "no_crack") / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), golden_picture(seed))
    return tmp_path / "data"


@pytest.fixture
def bundle(tmp_path: Path, data: Path, make_finished: Callable[..., Finished]) -> Path:
    """Return a bundle whose training knew those pictures."""
    student = make_finished()
    provenance = {**student.provenance, "data": {"fingerprint": open_data([data]).fingerprint, "counts": {}}}
    run, card = tmp_path / "run", tmp_path / "card.toml"
    run.mkdir()
    finished.save(run, dataclasses.replace(student, provenance=provenance))
    card.write_text(CARD)
    out = tmp_path / "old.kdl"
    assert main(["export", str(run), "--int8", "off", "--card", str(card), "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_float_file_gives_back_the_student_it_was_written_from(
    name: str, make_finished: Callable[..., Finished]
) -> None:
    student = make_finished(name)
    content = onnx_from_student(student, "x")
    weights, outlier = weights_from_onnx(content, name, 2)
    again = dataclasses.replace(student, weights=weights, outlier=outlier)
    pictures = np.stack([prepare_input(golden_picture(seed), student.input) for seed in range(6)])
    assert np.allclose(reference(again)(pictures), reference(student)(pictures), atol=1e-4)
    features = np.random.default_rng(0).normal(size=(9, outlier.mean.size)).astype(np.float32)
    assert np.allclose(outlier.distance(features), student.outlier.distance(features), rtol=1e-5)
    first, second = (onnx.load_from_string(one).graph for one in (content, onnx_from_student(again, "x")))
    assert [node.name for node in first.node] == [node.name for node in second.node]


def test_a_bundle_is_built_anew_with_int8_and_keeps_what_it_says(bundle: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.kdl"
    assert main(["export", str(bundle), "--data", str(data), "--int8", "on", "--target", "rpi", "--out", str(out)]) == 0
    old, new = open_bundle(bundle).manifest, open_bundle(out).manifest
    assert (new.name, new.version, new.labels, new.card) == (old.name, old.version, old.labels, old.card)
    assert new.provenance == old.provenance
    assert "int8" in {artifact.precision for artifact in new.artifacts}
    float_file = next(artifact for artifact in new.artifacts if artifact.precision == "fp32")
    assert float_file.temperature == old.artifacts[0].temperature
    assert float_file.thresholds == old.artifacts[0].thresholds
    assert np.allclose(new.golden.logits["student.onnx"], old.golden.logits["student.onnx"], atol=1e-4)


def test_pictures_that_the_bundle_did_not_learn_from_are_refused(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next((data / "train" / "crack").glob("*.png")).unlink()
    assert main(["export", str(bundle), "--data", str(data), "--out", str(tmp_path / "new.kdl")]) == 1
    assert "not the pictures that" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "new.kdl").exists()


def test_a_bundle_that_does_not_say_what_it_learnt_from_is_refused(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_bundle(bundle)
    manifest = dataclasses.replace(
        opened.manifest, provenance=dataclasses.replace(opened.manifest.provenance, data={"pictures": 12})
    )
    write_bundle(bundle, manifest, {one.file: opened.file_of(one).read_bytes() for one in manifest.artifacts})
    assert main(["export", str(bundle), "--data", str(data), "--out", str(tmp_path / "new.kdl")]) == 1
    assert "lacks the key 'provenance.data.fingerprint'" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("flag", ["--groups", "--group-regex"])
def test_a_bundle_of_grouped_pictures_is_built_anew_with_the_same_groups(
    flag: str, data: Path, tmp_path: Path, make_finished: Callable[..., Finished], capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((data / "train").glob("*/*.png"))
    walls = [f"{file.parent.name}/{file.name},wall{int(file.stem) // 8}" for file in files]
    table = tmp_path / "walls.csv"
    table.write_text("\n".join(["file,group", *walls]) + "\n")
    grouped = open_data([data], groups=[table]) if flag == "--groups" else open_data([data], group_regex=r"(\d)\.")
    assert grouped.fingerprint != open_data([data]).fingerprint
    student, run, old = make_finished(), tmp_path / "grouped", tmp_path / "old.kdl"
    sizes = {"seed": 0, "input": {"imgsz": 64}, "teacher": {"imgsz": 64}}
    facts = {"recipe": sizes, "data": {"fingerprint": grouped.fingerprint, "counts": {}}}
    run.mkdir()
    finished.save(run, dataclasses.replace(student, provenance={**student.provenance, **facts}))
    assert main(["export", str(run), "--int8", "off", "--out", str(old)]) == 0
    words = ["--data", str(data), flag, str(table) if flag == "--groups" else r"(\d)\."]
    assert main(["export", str(old), *words, "--int8", "off", "--out", str(tmp_path / "new.kdl")]) == 0
    qat = ["train", "--qat", "--qat-epochs", "1", "--from", str(old), "--out", str(tmp_path / "qat"), "--device", "cpu"]
    assert main([*qat, *words]) == 0
    capsys.readouterr()
    assert main(["export", str(old), *words[:2], "--out", str(tmp_path / "no.kdl")]) == 1
    assert "in the same order, and its --groups or --group-regex" in capsys.readouterr().err
    assert main(["export", str(run), *words[2:], "--out", str(tmp_path / "no.kdl")]) == 2
    assert f"{flag} is for a bundle" in capsys.readouterr().err


def test_a_bundle_needs_its_pictures_and_a_run_names_its_own(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundle), "--out", str(tmp_path / "new.kdl")]) == 2
    assert "--data must name" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "run"), "--data", str(data), "--out", str(tmp_path / "new.kdl")]) == 2
    assert "--data is for a bundle" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "run"), "--foreign", "--out", str(tmp_path / "new.kdl")]) == 2
    assert "--foreign is for a bundle" in capsys.readouterr().err


def test_a_float_file_that_is_not_ours_is_told(make_finished: Callable[..., Finished]) -> None:
    content = onnx_from_student(make_finished("nano"), "x")
    with pytest.raises(DataError, match="not one of this program's 'small'"):
        weights_from_onnx(content, "small", 2)
    with pytest.raises(DataError, match="not one of this program's 'nano'"):
        weights_from_onnx(b"no model", "nano", 2)


def test_a_bundle_built_anew_learns_what_it_is_not_for(bundle: Path, data: Path, tmp_path: Path) -> None:
    others, out = tmp_path / "others", tmp_path / "new.kdl"
    others.mkdir()
    for number in range(8):
        assert cv2.imwrite(str(others / f"{number}.png"), np.full((32, 32, 3), 30 * number, np.uint8))
    words = ["export", str(bundle), "--data", str(data), "--int8", "off", "--out", str(out)]
    assert main([*words, "--foreign", str(others)]) == 0
    manifest = open_bundle(out).manifest
    assert manifest.provenance.data["foreign"]["others"] == 8
    content = (out / manifest.artifacts[0].file).read_bytes()
    assert weights_from_onnx(content, manifest.student, 2)[1].planes is not None
    assert main(["verify", str(out)]) == 0
    assert main([*words, "--foreign"]) == 0
    generated = open_bundle(out).manifest.provenance.data["foreign"]
    assert set(generated) == {f"{kind} (generated)" for kind in ("static", "bars", "letters", "torn")}
