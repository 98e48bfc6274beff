"""Annotated copies show what they say, and every picture has one of its own, however long its name is."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.annotated import Annotated, copy_name
from tests.edge.results import frame, prediction

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


@pytest.mark.parametrize(
    ("below", "copy"),
    [
        ("a/b.jpg", "a/b.jpg"), ("a/b.JPEG", "a/b.JPEG"), ("a/b.png", "a/b.png.jpg"), ("b.tif", "b.tif.jpg"),
        ("a/b.png.jpg", "a/b.png.jpg.jpg"), ("b.jpg.JPG", "b.jpg.JPG.jpg"), ("b.7.jpg", "b.7.jpg"),
    ],
)  # fmt: skip
def test_a_copy_lies_below_as_the_picture_does_and_never_replaces_another(below: str, copy: str) -> None:
    assert copy_name(frame(below=below)) == copy


def test_a_frame_of_a_camera_is_saved_by_its_number() -> None:
    assert copy_name(frame(index=42)) == "frame-00000042.jpg"


def test_an_annotated_copy_keeps_the_picture_and_adds_words(tmp_path: Path, classifier: Classifier) -> None:
    sink = Annotated(tmp_path / "out", classifier.bundle.manifest)
    picture = np.full((300, 400, 3), (220, 0, 0), np.uint8)
    sink.write(prediction(), frame(picture, below="a/b.jpg"))
    sink.close()
    copy = cv2.imread(str(tmp_path / "out/a/b.jpg"), cv2.IMREAD_COLOR_RGB)
    assert copy is not None
    assert copy.shape == (300, 400, 3)
    assert np.abs(copy[:200].astype(int) - (220, 0, 0)).max() < 12
    assert (copy[260:] > 200).all(axis=2).sum() > 40  # white letters
    assert (picture == (220, 0, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (20_000, 30), (2, 700)])
def test_a_copy_of_any_size_can_be_drawn(tmp_path: Path, classifier: Classifier, size: tuple[int, int]) -> None:
    sink = Annotated(tmp_path, classifier.bundle.manifest)
    sink.write(prediction(decision="abstained"), frame(np.zeros((size[1], size[0], 3), np.uint8), below="a.jpg"))
    copy = cv2.imread(str(tmp_path / "a.jpg"))
    assert copy is not None
    assert max(copy.shape) <= 4096


def test_a_copy_that_cannot_be_written_is_one_clear_error(tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(KDLightError, match=r"a/b\.jpg cannot be written"):
        Annotated(tmp_path, classifier.bundle.manifest).write(prediction(), frame(below="a/b.jpg"))
