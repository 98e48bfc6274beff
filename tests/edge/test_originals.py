"""No run writes over the pictures that it reads, nor over what it writes itself."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main

MODEL = str(Path(__file__).resolve().parents[2] / "models" / "surface-crack.kdl")

OWN, ONE = ["--model", "own.kdl"], ["--camera", "scene:crack", "--frames", "1"]
MANIFEST = "own.kdl/manifest.json"


@pytest.fixture
def deck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with ``a.jpg`` and ``below/b.png``, which the test stands beside."""
    deck = tmp_path / "deck"
    (deck / "below").mkdir(parents=True)
    for name in ("a.jpg", "below/b.png"):
        cv2.imwrite(str(deck / name), np.full((64, 64, 3), (0, 0, 220), np.uint8))
    monkeypatch.chdir(tmp_path)
    return deck


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folder", "deck", "--save", "deck"], "--save deck would write over deck/a.jpg"),
        (["--folder", "deck", "--save", "link"], "--save link would write over deck/a.jpg"),
        (["--folder", "deck", "--save", "hard"], "--save hard would write over deck/a.jpg"),
        (["--source", "deck/a.jpg", "--save", "deck/below/.."], "would write over deck/a.jpg"),
        (["--folder", "deck/below", "--save", "link/below"], "--save link/below lies in deck/below, whose pictures"),
        (["--source", "scans", "--save", "scans"], "--save scans lies in scans, whose pictures are read"),
        (["--folder", "deck", "--csv", "deck/below/b.png"], "--csv deck/below/b.png would write over deck/below/b.png"),
        (["--folder", "deck", "--json-file", "link/a.jpg"], "--json-file link/a.jpg would write over deck/a.jpg"),
        (["--folder", "deck", "--sheet", "deck/below/b.png"], "--sheet deck/below/b.png would write over"),
        (["--source", "watch:deck?poll=0.1", "--save", "deck/out"], "--save deck/out lies in deck"),
        (["--folder", "deck", "--tiles", "64", "--csv", "deck/a.jpg"], "--csv deck/a.jpg would write over deck/a.jpg"),
        (["--folder", "pictures", "--tiles", "64", "--report", "."], "--report . writes where pictures/a.jpg lies"),
        (["--folder", "deck", "--save", "deck/below/out"], "--save deck/below/out lies in deck, whose pictures"),
        (["--source", "pictures", "--tiles", "64", "--report", "pictures/out"], "out lies in pictures, whose pictures"),
        (["--folder", "scans", "--csv", "scans/IM1"], "--csv scans/IM1 would write over scans/IM1"),
        (["--source", "dicom:scans", "--save", "out", "--audit", "scans/IM1"], "--audit scans/IM1 would write over"),
        (["--folder", "deck", "--mqtt", "mqtt://h", "--mqtt-store", "deck/a.jpg"], "--mqtt-store deck/a.jpg would"),
        (["--folder", "deck", "--csv", "out", "--json-file", "./out"], "--csv out and --json-file ./out would write"),
        (["--folder", "deck", "--save", "out", "--csv", "out/predictions.csv"], "over each other; name two files"),
        (["--folder", "deck", "--tiles", "64", "--csv", "o", "--geojson", "o"], "--csv o and --geojson o would write"),
        (["--folder", "deck", "--audit", "key", "--audit-key", "key"], "--audit key would write over key"),
        ([*OWN, "--folder", "deck", "--csv", MANIFEST], f"would write over {MANIFEST}, which is to be read"),
        ([*OWN, *ONE, "--mqtt", "mqtt://h", "--mqtt-store", MANIFEST], "would write over own"),
        ([*OWN, "--folder", "deck", "--tiles", "64", "--geojson", MANIFEST], "would write over own.kdl"),
    ],
)
def test_a_flag_that_would_write_over_what_is_read_is_refused_before_anything_is_written(
    words: list[str], said: str, deck: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("link").symlink_to("deck")
    Path("hard").mkdir()
    os.link(deck / "a.jpg", "hard/a.jpg")
    Path("pictures").symlink_to("deck")
    Path("scans").mkdir()
    Path("scans/IM1").write_bytes(bytes(128) + b"DICM")
    Path("key").write_bytes(bytes(32))
    shutil.copytree(MODEL, "own.kdl")
    if "--report" in words:
        Path("pictures").unlink()
        deck.rename("pictures")
    before = contents(tmp_path)
    assert main(["infer", "--model", MODEL, *words]) == 2
    out, err = capfd.readouterr()
    assert (out, contents(tmp_path)) == ("", before)
    assert said in err
    assert len(err.splitlines()) == 1


def test_copies_of_a_camera_may_lie_in_the_folder_that_one_is_in(deck: Path, tiny_bundle: Callable[..., Path]) -> None:
    assert (
        main(["infer", "--model", str(tiny_bundle()), "--camera", "scene:crack", "--frames", "1", "--save", "."]) == 0
    )
    assert deck.with_name("predictions.csv").is_file()


def test_copies_and_tables_elsewhere_are_written_again_and_again(
    deck: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(deck)
    more = ["--save", "out", "--csv", "out.csv", "--json-file", "out.jsonl", "--sheet", "out.png"]
    for _ in range(2):
        assert main(["infer", "--model", str(tiny_bundle()), "--folder", "deck", *more]) == 0
    assert contents(deck) == before
    assert sorted(path.name for path in Path("out").rglob("*.jpg")) == ["a.jpg", "b.png.jpg"]
    assert "error" not in capfd.readouterr().err
    assert main(["infer", "--model", str(tiny_bundle()), "--folder", "deck", "--csv", os.devnull, "--audit", "a"]) == 0
