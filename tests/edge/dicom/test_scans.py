"""Scans as a source: what is read, what is told of it, what is refused, and what a study adds up to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.dicom.identity import Identity
from kdlight_edge.dicom.scan import frames_in, read
from kdlight_edge.dicom.study import KEPT, RollUp, Study, describe
from kdlight_edge.dicom.suited import noted, unsuited
from kdlight_edge.errors import DataError, SourceError, UsageError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.manifest import Scans
from kdlight_edge.sources import Album, kind_of, open_source
from kdlight_edge.sources.dicom import DicomFolder

MakeScan = Callable[..., Dataset]
RED = np.full((8, 8, 3), (220, 0, 0), np.uint8)
GREEN = np.full((8, 8, 3), (0, 220, 0), np.uint8)


def save(scan: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    scan.save_as(file, enforce_file_format=True)
    return file


@pytest.fixture
def study(tmp_path: Path, make_scan: MakeScan) -> Path:
    """A folder as a scanner writes it: names without endings, a list, a note, three frames in one of two objects."""
    folder = tmp_path / "DOE"
    first = make_scan(np.stack([GREEN, RED, GREEN]), frames=3, modality="US")
    second = make_scan(RED, modality="US", StudyInstanceUID=first.StudyInstanceUID)
    save(first, folder / "S1/IM000001")
    save(second, folder / "S1/IM000002")
    (folder / "README").write_text("not a scan")
    listing = Path(str(get_testdata_file("DICOMDIR")))
    (folder / "DICOMDIR").write_bytes(listing.read_bytes())
    return folder


def infer(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    code = main(["infer", *map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


# Sources


def test_a_folder_is_told_to_hold_scans_by_content(study: Path) -> None:
    assert kind_of(str(study)) == "dicom"
    assert kind_of(str(study / "S1/IM000001")) == "dicom"
    assert kind_of(f"dicom:{study}") == "dicom"
    assert kind_of(str(study / "README")) == "folder"


def test_a_folder_with_pictures_stays_a_folder_of_pictures(study: Path) -> None:
    (study / "DICOMDIR").unlink()
    for i in range(3):
        cv2.imwrite(str(study / f"{i}.png"), np.zeros((4, 4), np.uint8))
    assert kind_of(str(study)) == "folder"


def test_every_frame_of_every_object_is_given_and_nothing_else(study: Path) -> None:
    source = open_source(str(study))
    assert isinstance(source, Album)
    frames = [item for item in source if isinstance(item, Frame)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.meta["scan"]["frame"] for frame in frames] == [1, 2, 3, 1]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 220, 0, 220]
    assert {frame.meta["scan"]["frames"] for frame in frames[:3]} == {3}
    assert len({frame.meta["below"] for frame in frames}) == 4
    source.close()


def test_compressed_frames_are_given_one_by_one(tmp_path: Path, make_scan: MakeScan) -> None:
    random = np.random.default_rng(1).integers(0, 256, (4, 16, 16), np.uint8)
    scan = make_scan(random, frames=4, modality="US")
    scan.compress(RLELossless, generate_instance_uid=False)
    items = list(DicomFolder(save(scan, tmp_path / "x.dcm")))
    assert [(item.image[..., 0] == random[i]).all() for i, item in enumerate(items) if isinstance(item, Frame)] == (
        [True] * 4
    )


def test_a_deflated_object_is_read_and_one_that_would_fill_the_memory_is_not(
    tmp_path: Path, make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = make_scan(np.zeros((3, 256, 256), np.uint8), frames=3)
    scan.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    scan.save_as(tmp_path / "1", enforce_file_format=True)
    assert (tmp_path / "1").stat().st_size < 3000
    assert frames_in(str(tmp_path / "1")) == 3
    assert [type(item) for item in DicomFolder(tmp_path)] == [Frame] * 3
    (tmp_path / "1").write_bytes((tmp_path / "1").read_bytes() + b"\0\0")
    assert frames_in(str(tmp_path / "1")) == 3
    monkeypatch.setattr("kdlight_edge.dicom.scan.LARGEST_INFLATED", 3 * 256 * 256)
    assert frames_in(str(tmp_path / "1")) == 1, "it is inflated for no header either"
    with pytest.raises(DataError, match="inflates to more than 196,608 bytes"):
        read(tmp_path / "1")


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no DICOM scans"):
        open_source(f"dicom:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated.dcm", "pixel data is less than expected"),
        ("test-SR.dcm", "holds no picture"),
        ("badVR.dcm", "a dose (RT Dose), computed from scans, is no picture for people"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "the compressed frame says 3722445056x1024 pixels"),
    ],
)
def test_a_damaged_object_is_a_line_with_its_reason(name: str, reason: str) -> None:
    items = list(DicomFolder(str(get_testdata_file(name))))
    assert len(items) == 1
    assert isinstance(items[0], Unreadable)
    assert reason in items[0].reason
    assert "\n" not in items[0].reason


def test_a_file_that_is_no_dicom_at_all_is_a_line_too(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"dear sir")
    (item,) = open_source(str(tmp_path / "x.dcm"))
    assert isinstance(item, Unreadable)
    assert "not a DICOM file" in item.reason


def test_no_mutation_of_a_file_ends_the_run(tmp_path: Path, make_scan: MakeScan) -> None:
    random = np.random.default_rng(2)
    scan = make_scan(random.integers(0, 4096, (24, 24), np.uint16), BitsStored=12, HighBit=11)
    content = save(scan, tmp_path / "good").read_bytes()
    for i in range(60):
        torn = bytearray(content[: random.integers(200, len(content))] if i % 2 else content)
        for place in random.integers(132, len(torn), 8):
            torn[place] = random.integers(256)
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / f"all/{i:03}").write_bytes(torn)
    items = list(DicomFolder(tmp_path / "all"))
    assert {Path(item.source).name for item in items} == {f"{i:03}" for i in range(60)}
    assert any(isinstance(item, Unreadable) for item in items)


# Names


def test_no_name_and_no_number_of_a_patient_is_told(
    study: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str], make_scan: MakeScan
) -> None:
    odd = make_scan(RED, modality="US")
    odd.Modality, odd.BodyPartExamined, odd.WindowCenter = "Doe^Jane", "Jane's chest", None
    save(odd, study / "S1/IM000003")
    code, lines, err = infer(capfd, "--folder", study / "S1", "--model", tiny_bundle())
    assert code == 0
    told = json.dumps([{key: line[key] for key in line if key != "source"} for line in lines]) + err
    for secret in ("DOE", "JANE", "4711", "1.2.826", "19700101", "ACCESSION"):
        assert secret not in told.upper(), secret
    assert lines[4]["scan"]["modality"] is None
    assert lines[0]["scan"]["caution"] == "CAUTION: not for diagnostic use"


def test_equal_identifiers_have_equal_hashes_within_a_run_and_with_a_key_beyond(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    one, other = Identity(), Identity()
    assert one.hashed("patient", "4711") == one.hashed("patient", " 4711 ")
    assert one.hashed("patient", "4711") != one.hashed("study", "4711")
    assert one.hashed("patient", "4711") != other.hashed("patient", "4711")
    assert one.hashed("patient", "") is None
    one.use(key)
    other.use(key)
    # printf 'patient\0004711' | openssl dgst -sha256 -hmac 0123456789abcdef
    assert one.hashed("patient", "4711") == other.hashed("patient", "4711") == "2a789173cd9ecf1739432ac51b737167"


def test_a_key_that_is_too_short_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(UsageError, match="holds 5 bytes, 16 are the least"):
        Identity().use(tmp_path / "key")
    with pytest.raises(UsageError, match="cannot be read"):
        Identity().use(tmp_path / "none")


# Suited to the bundle

CHEST = Scans(("DX", "CR"), ("CHEST",))


@pytest.mark.parametrize(
    ("modality", "part", "reason"),
    [
        ("DX", "CHEST", ""),
        (None, None, ""),
        ("CT", "CHEST", "modality CT is not one that this bundle was made for (DX, CR)"),
        ("CR", "KNEE", "body part KNEE is not one that this bundle was made for (CHEST)"),
    ],
)
def test_a_scan_is_checked_against_the_bundle(modality: str | None, part: str | None, reason: str) -> None:
    assert unsuited({"modality": modality, "body_part": part}, CHEST) == reason
    assert unsuited({"modality": modality, "body_part": part}, None) == ""


def test_what_could_not_be_checked_is_noted() -> None:
    assert noted({"modality": "DX", "body_part": None}, CHEST)["notes"] == [
        "body part not stated by a known code, so not checked against CHEST"
    ]
    (note,) = noted({"modality": "US", "body_part": "HEART"}, None)["notes"]
    assert note == "modality and body part not checked: the card of this bundle has no [scans]"


def test_a_ct_sent_to_a_chest_x_ray_bundle_is_refused(
    tmp_path: Path, make_scan: MakeScan, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    save(make_scan(RED, modality="CT"), folder / "1")
    save(make_scan(RED, modality="DX"), folder / "2")
    save(make_scan(RED, modality="DX", BodyPartExamined=""), folder / "3")
    model = tiny_bundle(scans=CHEST)
    code, lines, err = infer(capfd, "--folder", folder, "--model", model, "--save", tmp_path / "out")
    assert code == 1
    assert [line["decision"] for line in lines] == ["error", "accepted", "accepted"]
    assert "modality CT is not one that this bundle was made for" in lines[0]["reason"]
    assert lines[0]["label"] is None
    assert lines[1]["scan"]["notes"] == []
    assert lines[2]["scan"]["notes"] == ["body part not stated by a known code, so not checked against CHEST"]
    assert "1 not answered" in err


# The study as a whole


def test_a_run_ends_with_a_line_for_each_study(
    study: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    code, lines, err = infer(capfd, "--folder", study, "--model", tiny_bundle(), "--threads", "2")
    assert code == 0
    name = lines[0]["scan"]["study"]
    assert {line["scan"]["study"] for line in lines} == {name}
    told = [line for line in err.splitlines() if line.startswith("study ")]
    assert len(told) == 1
    most, of = "2 (at most 1.000, frame", lines[0]["scan"]["instance"][:12]
    assert told[0] == f"study {name[:12]}: 4 frames: no_crack {most} 1 of {of}), crack {most} 2 of {of})"


def prediction(study: str, frame: int, label: str | None, probability: float) -> Prediction:
    scan = {"study": study, "instance": "i", "frame": frame}
    decision = "accepted" if label else "error"
    return Prediction("x", 0, Moment(0, 0), Moment(0, 0), decision, "", label, probability, scan=scan)


def test_a_study_keeps_the_frame_that_speaks_most_for_a_label() -> None:
    roll = RollUp()
    for frame, label, probability in ((1, "ill", 0.7), (2, "ill", 0.9), (3, "well", 0.8), (4, None, 0.0)):
        roll.add(prediction("s", frame, label, probability))
    (study,) = roll.studies()
    told = "study s: 4 frames: ill 2 (at most 0.900, frame 2 of i), well 1 (at most 0.800, frame 3 of i), 1 error"
    assert describe(study) == told


def test_a_study_without_an_identifier_is_called_so() -> None:
    assert describe(Study(None, 1, {"accepted": 1}, {}, {})).startswith("study without identifier: 1 frame")


def test_only_the_last_studies_are_kept() -> None:
    roll = RollUp()
    for number in range(KEPT + 5):
        roll.add(prediction(str(number), 1, "ill", 0.9))
    roll.add(prediction("5", 2, "ill", 0.9))
    studies = roll.studies()
    assert len(studies) == KEPT
    assert (studies[-1].study, studies[-1].frames) == ("5", 2)


@pytest.mark.parametrize("name", ["IM0001", "scan.dcm"])
def test_scans_among_the_classes_of_an_evaluation_are_told_as_such(
    tiny_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for label in ("crack", "no_crack"):
        (tmp_path / "data" / label).mkdir(parents=True)
        content = bytes(128) + b"DICM" if name == "IM0001" else b"without the preamble"
        (tmp_path / "data" / label / name).write_bytes(content)
    assert main(["eval", str(tiny_bundle()), "--data", str(tmp_path / "data")]) == 6
    assert f"{tmp_path}/data/crack holds scans (DICOM) and no pictures" in capsys.readouterr().err
