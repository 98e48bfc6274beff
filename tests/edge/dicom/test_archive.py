"""Scans in an archive: a row a frame, identifiers as equal hashes, and what the bundle was not made for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

pa = pytest.importorskip("pyarrow", reason="the extra archive is not installed")

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cluster.job import Job, packed
from kdlight_edge.cluster.member import Member
from kdlight_edge.dicom.identity import RUN
from kdlight_edge.manifest import Scans

MakeScan = Callable[..., Dataset]


@pytest.fixture
def answered(
    tmp_path: Path, tiny_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Return ``answered(scans) -> rows``; the scans lie in files named by their keys."""
    monkeypatch.setattr(RUN, "_key", RUN.share())  # put back afterwards
    bundle = open_bundle(tiny_bundle(scans=Scans(("DX",), ("CHEST",))))

    def made(files: dict[str, Dataset | bytes], identity: bytes = bytes(32)) -> list[dict[str, Any]]:
        archive = tmp_path / "archive"
        archive.mkdir(exist_ok=True)
        for name, scan in files.items():
            if isinstance(scan, bytes):
                (archive / name).write_bytes(scan)
            else:
                scan.save_as(archive / name, enforce_file_format=True)
        member = Member(Job(str(archive), packed(bundle), "auto", None, 1, identity))
        rows: list[dict[str, Any]] = member(pa.table({"key": list(files)})).to_pylist()
        return rows

    return made


def test_each_frame_is_a_row_and_a_file_of_another_kind_one_with_the_reason(
    answered: Callable[..., list[dict[str, Any]]], make_scan: MakeScan
) -> None:
    red = np.zeros((3, 40, 32, 3), np.uint8)
    red[..., 0] = 220
    rows = answered({
        "IM0001": make_scan(red, frames=3),
        "ct.dcm": make_scan(red[0], modality="CT"),
        "IM0002": b"not a scan",
    })  # fmt: skip
    assert [(row["key"], row["frame"], row["label"]) for row in rows] == [
        *(("IM0001", number, "crack") for number in range(3)), ("ct.dcm", 0, None), ("IM0002", 0, None),
    ]  # fmt: skip
    assert rows[3]["error"] == "modality CT is not one that this bundle was made for (DX)"
    assert rows[4]["error"].startswith("not a picture")


def test_identifiers_are_equal_hashes_under_one_key_and_no_name_is_told(
    answered: Callable[..., list[dict[str, Any]]], make_scan: MakeScan
) -> None:
    scan = make_scan(np.zeros((40, 32), np.uint8))
    patients = [
        json.loads(answered({"a.dcm": scan}, key)[0]["scan"])["patient"] for key in (b"k" * 32, b"k" * 32, b"o" * 32)
    ]
    assert patients[0] == patients[1] != patients[2]
    told = json.dumps(answered({"a.dcm": scan}), default=str)
    assert not {"DOE", "JANE", "4711"} & set(told.replace("^", " ").replace("-", " ").replace('"', " ").split())
