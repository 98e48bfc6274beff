"""What answers say of the patient and the study: what their object says, letter by letter, or there is no answer."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from kdlight_edge.classifier import open_classifier
from kdlight_edge.sinks.dicom import DicomAnswers
from kdlight_edge.sources.dicom import DicomFolder
from kdlight_edge.stream import run

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)
COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def answered(model: Path, scan: Dataset, folder: Path) -> tuple[Dataset, list[Dataset], list[str]]:
    """Return the scan as it lies on the disk, its answers and what was told."""
    file, told = folder / "in/scan.dcm", list[str]()
    file.parent.mkdir()
    scan.save_as(file, enforce_file_format=True)
    with open_classifier(model, threads=1) as classifier:
        sink = DicomAnswers(classifier, folder=folder / "out", sender=None, tell=told.append)
        run(DicomFolder(file), classifier, [sink])
    return pydicom.dcmread(file), [pydicom.dcmread(answer) for answer in (folder / "out").glob("*.dcm")], told


def raw(scan: Dataset, keyword: str) -> Any:
    """Return an element as its bytes, which is what an archive compares."""
    value: Any = getattr(scan.get_item(keyword), "value", None)
    return value.strip(b" \0") if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        ("ISO_IR 100", "MÜLLER^JÜRGEN"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
    ids=["German", "Unicode", "Japanese", "Korean", "Chinese"],
)
def test_a_name_in_any_writing_is_in_its_answers_byte_by_byte(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, sets: str | list[str], name: str
) -> None:
    made = make_scan(RED, SpecificCharacterSet=sets, PatientName=name, ReferringPhysicianName=name)
    scan, answers, told = answered(tiny_bundle(), made, tmp_path)
    assert told == []
    assert len(answers) == 2
    for answer in answers:
        assert {keyword: raw(answer, keyword) for keyword in COPIED} == {key: raw(scan, key) for key in COPIED}
        assert str(answer.PatientName) == name


@pytest.mark.parametrize(
    ("sets", "content"),
    [
        ("ISO_IR 192", b"M\xdcLLER^J\xdcRG "),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "山田^太郎".encode("shift_jis")),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B "),
    ],
    ids=["Latin called Unicode", "Shift JIS called ISO 2022", "with escapes"],
)
def test_what_is_written_otherwise_than_its_object_says_is_in_its_answers_byte_by_byte(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, sets: str | list[str], content: bytes
) -> None:
    made, keywords = (
        make_scan(RED, SpecificCharacterSet=sets),
        {"PatientName": "PN", "PatientID": "LO", "StudyID": "SH"},
    )
    for keyword, kind in keywords.items():
        made[keyword] = DataElement(keyword, kind, content)
    scan, answers, told = answered(tiny_bundle(), made, tmp_path)
    assert (len(answers), told) == (2, [])
    for keyword in keywords:
        assert [raw(one, keyword) for one in (scan, *answers)] == [content.strip()] * 3


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientBirthDate", "00000000"), ("PatientSex", "female"), ("StudyDate", "2026.01.01")]
)
def test_a_value_that_is_none_does_not_cost_a_scan_its_answers(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, keyword: str, value: str
) -> None:
    scan, answers, told = answered(tiny_bundle(), make_scan(RED, **{keyword: value}), tmp_path)
    assert told == []
    assert [raw(answer, keyword) for answer in answers] == [raw(scan, keyword)] * 2


def test_both_answers_say_which_hospital_gave_the_number_of_the_patient(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    made = make_scan(RED, IssuerOfPatientID="NORTH", PatientAge="056Y", StudyDescription="Thorax")
    _, answers, _ = answered(tiny_bundle(), made, tmp_path)
    found = [(answer.IssuerOfPatientID, answer.PatientAge, answer.StudyDescription) for answer in answers]
    assert found == [("NORTH", "056Y", "Thorax")] * 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_a_scan_whose_identifier_is_empty_has_no_answer_and_that_is_told(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, keyword: str
) -> None:
    made = make_scan(RED)
    setattr(made, keyword, "")
    _, answers, told = answered(tiny_bundle(), made, tmp_path)
    assert answers == []
    assert told == [f"scan 0 has no answer object: it has no {keyword}"]


@pytest.mark.parametrize("zone", ["+0545", "-0930"])
def test_the_times_of_an_answer_stand_in_the_zone_that_its_scan_names(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, zone: str
) -> None:
    before = datetime.now(timezone.utc)
    _, answers, _ = answered(tiny_bundle(), make_scan(RED, TimezoneOffsetFromUTC=zone), tmp_path)
    after = datetime.now(timezone.utc)
    assert len(answers) == 2
    for answer in answers:
        assert answer.TimezoneOffsetFromUTC == zone
        assert (answer.StudyDate, answer.StudyTime) == ("20260101", "120000")
        told = [answer.InstanceCreationDate + answer.InstanceCreationTime, answer.ContentDate + answer.ContentTime]
        told += [one.ContributionDateTime for one in answer.ContributingEquipmentSequence[1:]]
        if answer.Modality == "OT":
            told.append(answer.DateOfSecondaryCapture + answer.TimeOfSecondaryCapture)
        for moment in told:
            assert before <= datetime.strptime(moment + zone, "%Y%m%d%H%M%S.%f%z") <= after


@pytest.mark.parametrize("zone", ["", "JST", "+9", "+9900"])
def test_a_zone_that_is_none_is_passed_over(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, zone: str
) -> None:
    _, answers, told = answered(tiny_bundle(), make_scan(RED, TimezoneOffsetFromUTC=zone), tmp_path)
    assert (len(answers), told) == (2, [])
    assert not any("TimezoneOffsetFromUTC" in answer for answer in answers)
