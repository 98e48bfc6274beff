"""The part of the body where equipment states it by a code alone, and not as BodyPartExamined."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from kdlight_edge.dicom.suited import unsuited
from kdlight_edge.frame import Frame
from kdlight_edge.manifest import Scans
from kdlight_edge.sources.dicom import DicomFolder
from tests.edge.dicom.dcmtk import save

MakeScan = Callable[..., Dataset]
CHEST = Scans(("DX",), ("CHEST",))


def coded(value: str, scheme: str = "SCT") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Doe^Jane"
    return Sequence([item])


def parts(scan: Dataset, folder: Path) -> list[str | None]:
    items = list(DicomFolder(save(scan, folder / "scan")))
    assert all(isinstance(item, Frame) for item in items)
    return [item.meta["scan"]["body_part"] for item in items]


@pytest.mark.parametrize(
    ("value", "scheme", "part"),
    [
        ("816094009", "SCT", "CHEST"),
        ("51185008", "SCT", "CHEST"),
        ("T-D3000", "SRT", "CHEST"),
        ("T-D9200", "SNM3", "KNEE"),
        ("12738006", "SCT", "BRAIN"),
        ("12738006", "99OURS", None),
        ("1", "SCT", None),
    ],
)
def test_a_body_part_that_is_a_code_alone_is_told_and_checked(
    tmp_path: Path, make_scan: MakeScan, value: str, scheme: str, part: str | None
) -> None:
    scan = make_scan(np.zeros((8, 8), np.uint8), AnatomicRegionSequence=coded(value, scheme))
    del scan.BodyPartExamined
    assert parts(scan, tmp_path) == [part]
    assert bool(unsuited({"modality": "DX", "body_part": part}, CHEST)) == (part in {"KNEE", "BRAIN"})


def test_what_stands_as_body_part_examined_goes_before_a_code(tmp_path: Path, make_scan: MakeScan) -> None:
    scan = make_scan(np.zeros((8, 8), np.uint8), AnatomicRegionSequence=coded("T-D9200", "SRT"))
    assert parts(scan, tmp_path) == ["CHEST"]


def test_the_frames_of_an_enhanced_object_have_each_its_own_body_part(tmp_path: Path, make_scan: MakeScan) -> None:
    scan = make_scan(np.zeros((3, 8, 8), np.uint8), frames=3, AnatomicRegionSequence=coded("38266002"))
    del scan.BodyPartExamined
    groups = [Dataset() for _ in range(4)]
    for group, value in zip(groups, ("72696002", "816094009", "", "12738006"), strict=True):
        if value:
            anatomy = Dataset()
            anatomy.AnatomicRegionSequence = coded(value)
            group.FrameAnatomySequence = Sequence([anatomy])
    scan.PerFrameFunctionalGroupsSequence = Sequence(groups[:3])
    assert parts(scan, tmp_path) == ["KNEE", "CHEST", "WHOLEBODY"]
    scan.SharedFunctionalGroupsSequence = Sequence(groups[3:])
    assert parts(scan, tmp_path) == ["KNEE", "CHEST", "BRAIN"]


@pytest.mark.parametrize("odd", [Sequence(), Sequence([Dataset()])], ids=["no item", "empty item"])
def test_a_code_that_is_none_states_no_body_part(tmp_path: Path, make_scan: MakeScan, odd: Sequence) -> None:
    scan = make_scan(np.zeros((8, 8), np.uint8), AnatomicRegionSequence=odd)
    del scan.BodyPartExamined
    assert parts(scan, tmp_path) == [None]
