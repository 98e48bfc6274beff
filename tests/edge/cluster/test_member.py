"""One classifier of a pool without a cluster, and the files that it is handed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="the extra archive is not installed")

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cluster.job import Job, packed
from kdlight_edge.cluster.member import Member
from kdlight_edge.cluster.parts import COLUMNS
from kdlight_edge.cluster.shelf import Shelf, may_be_scan
from kdlight_edge.errors import KDLightError, SourceError, UsageError


def picture(file: Path, colour: tuple[int, int, int] = (0, 0, 255)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((48, 64, 3), colour, np.uint8))


def job(folder: Path, bundle: Path, **change: Any) -> Job:
    given = {"engine": "auto", "conf": None, "topk": 2, "identity": bytes(32), **change}
    return Job(str(folder), packed(open_bundle(bundle)), **given)


def test_a_member_answers_a_row_a_picture_and_one_that_says_why_for_a_bad_file(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    archive = tmp_path / "archive"
    picture(archive / "wall" / "red.png")
    picture(archive / "green.jpg", (0, 255, 0))
    (archive / "torn.jpg").write_bytes((archive / "green.jpg").read_bytes()[:200])
    os.mkfifo(archive / "pipe.png")
    member = Member(job(archive, tiny_bundle()))
    keys = ["green.jpg", "gone.png", "pipe.png", "torn.jpg", "wall/red.png"]
    table = member(pa.table({"key": keys}))
    assert table.schema.equals(COLUMNS)
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == keys
    assert [row["label"] for row in rows] == ["no_crack", None, None, None, "crack"]
    assert [row["error"] for row in rows[1:4]] == [
        "cannot be opened: No such file or directory",
        "not a file: it cannot be read like one",
        "truncated JPEG file: the end of the picture is missing",
    ]
    red = rows[4]
    assert (red["decision"], red["reason"], red["error"], red["scan"], red["frame"]) == ("accepted", "", None, None, 0)
    assert [entry["label"] for entry in red["top"]] == ["crack", "no_crack"]
    assert red["digest"] == open_bundle(tiny_bundle()).manifest.digest
    assert min(red["decode_ms"], red["prepare_ms"], red["infer_ms"]) >= 0


def test_a_member_answers_as_a_run_on_one_machine_does(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.sources.folder import Folder

    rng = np.random.default_rng(5)
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (90, 70, 3), np.uint8))
    member = Member(job(tmp_path, tiny_bundle()))
    rows = member(pa.table({"key": [f"{number}.png" for number in range(4)]})).to_pylist()
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        alone = [classifier.classify(frame) for frame in Folder(tmp_path)]  # type: ignore[arg-type]
    assert [(row["label"], row["decision"]) for row in rows] == [(one.label, one.decision) for one in alone]
    assert [row["probability"] for row in rows] == pytest.approx([one.probability for one in alone], abs=1e-6)


def test_another_version_on_the_cluster_is_refused(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    with pytest.raises(KDLightError, match="install the same on both"):
        Member(job(tmp_path, tiny_bundle(), version="0.0.1"))


def test_a_machine_that_cannot_see_the_archive_does_not_answer_that_every_picture_is_missing(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    with pytest.raises(SourceError, match="is not a folder that can be read here"):
        Member(job(tmp_path / "elsewhere", tiny_bundle()))


def test_a_shelf_lists_what_may_be_classified_by_name_and_counts_the_rest(tmp_path: Path) -> None:
    names = [
        "b/2.JPG",
        "a.png",
        "b/IM0001",
        "b/1.2.840.1",
        "scan.dcm",
        "notes.txt",
        "DICOMDIR",
        ".hidden.png",
        ".x/y.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pictures = ["a.png", "b/2.JPG"]
    assert Shelf(str(tmp_path)).keys(scans=False) == (pictures, 5)
    both = sorted([*pictures, "b/1.2.840.1", "b/IM0001", "scan.dcm"])
    assert Shelf(str(tmp_path)).keys(scans=True) == (both, 2)
    assert Shelf(f"file://{tmp_path}").keys(scans=True) == (both, 2)
    assert Shelf(f"file://{tmp_path}").place == str(tmp_path)
    assert [name for name in names if may_be_scan(name)] == ["b/IM0001", "b/1.2.840.1", "scan.dcm"]


def test_a_name_in_another_encoding_than_utf_8_is_listed_read_and_answered(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    archive = tmp_path / "archive"
    picture(archive / "red.png")
    (archive / "red.png").rename(os.fsdecode(os.fsencode(archive) + b"/M\xfcller.png"))
    picture(archive / "Bj\u00f6rk\\xfc.png", (0, 255, 0))
    keys, _ = Shelf(str(archive)).keys(scans=False)
    assert keys == ["Bj\u00f6rk\\xfc.png", "M\\xfcller.png"]
    rows = Member(job(archive, tiny_bundle()))(pa.table({"key": keys})).to_pylist()
    assert [(row["key"], row["label"], row["error"]) for row in rows] == [
        (keys[0], "no_crack", None),
        (keys[1], "crack", None),
    ]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name in UTF-8"):
        Shelf(f"{tmp_path}/\udcfc")
    with pytest.raises(SourceError, match="not a folder"):
        Shelf(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="cannot be opened"):
        Shelf("nonsense://bucket/archive")
