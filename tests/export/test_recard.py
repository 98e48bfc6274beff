"""Another card for a bundle: what is said of it changes, and nothing that answers."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main

MODELS = Path(__file__).resolve().parents[2] / "models"
CARD = """
version = "2.0.0"
intended_use = "Our scanners."
data_terms = "As before."
[labels.glioma]
text = "Gliom"
positive = true
[scans]
modalities = ["MR"]
body_parts = ["SKULL"]
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    file = tmp_path / "card.toml"
    file.write_text(CARD)
    return file


def test_files_and_thresholds_stay_and_the_seal_is_new(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, out = MODELS / "brain-mri.kdl", tmp_path / "ours.kdl"
    assert main(["export", str(old), "--card", str(card), "--out", str(out)]) == 0
    assert capsys.readouterr().err == f"the files of {old} stay as they are; its card is that of {card}\n"
    before, after = (open_bundle(one).manifest for one in (old, out))
    assert (after.name, after.version, after.card.intended_use) == ("brain-mri", "2.0.0", "Our scanners.")
    assert after.labels[0].text == "Gliom"
    assert [label.positive for label in after.labels] == [True, False, False, False]
    assert after.scans is not None
    assert after.scans.body_parts == ("SKULL",)
    assert after.digest != before.digest
    for key in ("artifacts", "golden", "provenance", "input", "budgets", "trials"):
        assert getattr(after, key) == getattr(before, key), key
    assert {file.name for file in out.iterdir()} == {file.name for file in old.iterdir()}
    assert main(["verify", str(out)]) == 0


def test_it_needs_the_runtime_alone(tmp_path: Path, card: Path) -> None:
    missing = "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'onnx')))"
    given = ["export", str(MODELS / "brain-mri.kdl"), "--card", str(card), "--out", str(tmp_path / "ours.kdl")]
    script = f"{missing}; from kdlight_edge.cli import main; sys.exit(main({given!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_bundle(tmp_path / "ours.kdl").manifest.version == "2.0.0"


def test_a_bundle_may_take_it_in_its_own_place(tmp_path: Path, card: Path) -> None:
    out = tmp_path / "ours.kdl"
    for version in ("2.0.0", "2.0.1"):
        card.write_text(CARD.replace("2.0.0", version))
        source = MODELS / "brain-mri.kdl" if version == "2.0.0" else out
        assert main(["export", str(source), "--card", str(card), "--out", str(out)]) == 0
        assert open_bundle(out).manifest.version == version


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[labels.glioma]\nsensitivity_floor = 0.9",
            "the card's sensitivity_floor of glioma is 0.9 and the bundle's not stated; ",
        ),
        ("[labels.crack]\ntext = 'Crack'", "the card names the label crack; the student knows glioma"),
    ],
)
def test_what_needs_pictures_or_another_student_is_refused(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    card.write_text(text)
    assert main(["export", str(MODELS / "brain-mri.kdl"), "--card", str(card), "--out", str(tmp_path / "a.kdl")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.kdl").exists()


@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        ("brain-mri", ("MR",)),
        ("chest-xray", ("CR", "DX")),
        ("radiography", ("CR", "DX")),
        ("skin-lesion", ("DMS", "XC")),
        ("histology-lung", ("SM",)),
    ],
)
def test_every_bundle_for_patients_says_which_scans_it_takes(name: str, modalities: tuple[str, ...]) -> None:
    scans = open_bundle(MODELS / f"{name}.kdl").manifest.scans
    assert scans is not None
    assert scans.modalities == modalities
