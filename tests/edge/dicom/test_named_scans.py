"""Files that are scans by their names alone, as a broken copy leaves them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.cli import main
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources.dicom import DicomFolder
from kdlight_edge.sources.watch import Watch

MakeScan = Callable[..., Dataset]


def test_a_file_that_is_a_scan_by_its_name_alone_is_told(tmp_path: Path, make_scan: MakeScan) -> None:
    make_scan(np.full((8, 8), 90, np.uint8)).save_as(tmp_path / "a", enforce_file_format=True)
    (tmp_path / "b.dcm").touch()
    (tmp_path / "c.DCM").write_bytes(bytes(4096))
    (tmp_path / "d.dcm").symlink_to("nowhere")
    (tmp_path / "readme.txt").write_text("not a scan")
    read, *told = DicomFolder(tmp_path)
    assert isinstance(read, Frame)
    assert [(Path(item.source).name, type(item)) for item in told] == [
        ("b.dcm", Unreadable), ("c.DCM", Unreadable), ("d.dcm", Unreadable),
    ]  # fmt: skip
    assert all(isinstance(item, Unreadable) and item.reason for item in told)


def test_a_scan_without_the_mark_of_a_file_is_told_what_it_lacks(tmp_path: Path, make_scan: MakeScan) -> None:
    make_scan(np.full((8, 8), 90, np.uint8)).save_as(tmp_path / "file", enforce_file_format=True)
    (tmp_path / "bare.dcm").write_bytes((tmp_path / "file").read_bytes()[132:])
    told, _ = DicomFolder(tmp_path)
    assert isinstance(told, Unreadable)
    assert told.reason.startswith("not a DICOM file: no DICM at byte 128")


def test_scans_beside_pictures_are_told_to_be_passed_over(
    tmp_path: Path, make_scan: MakeScan, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    make_scan(np.full((8, 8), 90, np.uint8)).save_as(tmp_path / "a", enforce_file_format=True)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 8, 3), np.uint8))
    for flag in ("--folder", "--source"):
        assert main(["infer", flag, str(tmp_path), "--model", str(tiny_bundle()), "--json"]) == 0
        out, err = capfd.readouterr()
        assert len(out.splitlines()) == 1
        assert f"{tmp_path} holds pictures and scans: the pictures are read" in err


def test_a_row_of_a_table_names_its_scan(
    tmp_path: Path, make_scan: MakeScan, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    make_scan(np.full((2, 8, 8), 90, np.uint8), frames=2).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    table = tmp_path / "table.csv"
    words = ["infer", "--source", f"dicom:{tmp_path}", "--model", str(tiny_bundle()), "--json", "--csv", str(table)]
    assert main(words) == 0
    scans = [json.loads(line)["scan"] for line in capfd.readouterr().out.splitlines()]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1", "2"]
    for row, scan in zip(rows, scans, strict=True):
        assert (row["study"], row["instance"]) == (scan["study"], scan["instance"])


def test_scans_that_come_into_a_watched_folder_are_told_once_to_be_passed_over(tmp_path: Path) -> None:
    told: list[str] = []
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).touch()
    watch = Watch(tmp_path, report=told.append)
    watch.close()
    assert len(told) == 1
    assert "is a scan: none is watched for" in told[0]
