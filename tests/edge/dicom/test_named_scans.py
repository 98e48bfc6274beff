"""Files that are scans by their names alone, as a broken copy leaves them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources.dicom import DicomFolder

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
