"""Every picture has a copy of its own, however long its name is."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main

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
