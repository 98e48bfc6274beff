"""Every picture has a copy of its own, however long its name is."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.annotated import Annotated

MODEL = str(Path(__file__).resolve().parents[2] / "models" / "surface-crack.kdl")


def test_names_as_long_as_a_disk_takes_end_no_run_and_share_no_copy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    content = cv2.imencode(".png", np.full((64, 64, 3), 120, np.uint8))[1].tobytes()
    names = [b"a" * 251 + b".png", b"a" * 250 + b"b.png", "ü".encode() * 125 + b".png", b"\xff" * 251 + b".jpg"]
    for name in [*names, b"z.png"]:
        (folder / os.fsdecode(name)).write_bytes(content)
    assert main(["infer", "--folder", str(folder), "--model", MODEL, "--save", str(out)]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 5
    copies = [os.fsencode(path.name) for path in out.glob("*.jpg")]
    assert len(copies) == 5
    assert {names[3], b"z.png.jpg"} < set(copies)
    assert all(len(copy) <= 255 for copy in copies)


def test_a_folder_of_copies_that_somebody_tidies_away_is_made_again(tmp_path: Path) -> None:
    copies = Annotated(tmp_path / "out", open_bundle(MODEL).manifest)
    image = np.full((64, 64, 3), 120, np.uint8)
    for index in range(2):
        now = Moment.now()
        found = Prediction("a.png", index, now, now, "accepted", "", "crack", 0.9, (("crack", 0.9),))
        copies.write(found, Frame(image, now, "a.png", index, meta={"below": "monday/a.jpg"}))
        (tmp_path / "out/monday/a.jpg").unlink()
        (tmp_path / "out/monday").rmdir()
