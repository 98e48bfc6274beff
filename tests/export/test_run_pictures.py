"""What an export no longer finds of its training's pictures is told, once."""

from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main


def test_pictures_that_are_gone_are_counted_and_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (21, 25, 30):
        (tmp_path / f"{seed}.jpg").unlink()
    assert main(["export", str(run), "--int8", "off", "--out", str(tmp_path / "wall.kdl")]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out of")]
    assert told == [
        f"left out of held_out.csv, no longer there: 3 of 12 pictures, the first {tmp_path / '21.jpg'}",
    ]
    trials = open_bundle(tmp_path / "wall.kdl").manifest.trials
    assert trials is not None
    assert trials.pictures == 9


def test_what_several_formats_miss_is_told_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(40, 52):
        (tmp_path / f"{seed}.jpg").unlink()
    assert main(["export", str(run), "--target", "x86-vnni", "--out", str(tmp_path / "wall.kdl")]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out of")]
    assert told == [
        f"left out of calibration.csv, no longer there: 12 of 12 pictures, the first {tmp_path / '40.jpg'}",
    ]


def test_a_class_without_a_held_out_picture_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = run / "held_out.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if "no_crack" not in line))
    assert main(["export", str(run), "--int8", "off", "--out", str(tmp_path / "wall.kdl")]) == 0
    assert "no held-out picture of no_crack: how other files than fp32 answer those was not judged" in (
        capsys.readouterr().err
    )
