"""Answers as objects of the same study, in files: looked at with dcmtk, and told of without a name."""

import dataclasses
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction, Settings
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.dicom import DicomAnswers
from kdlight_edge.sources.dicom import DicomFolder
from kdlight_edge.stream import run
from tests.edge.dicom.dcmtk import needs_dcmtk, save, words
from tests.edge.fakes import FakeEngine
from tests.waiting import LIMIT

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)
GREEN = np.full((64, 48, 3), (0, 220, 0), np.uint8)
ODD_NAME = "GEHEIMMANN"
"""A name without a part for the given name, of which highdicom complains."""


def answered(model: Path, scans: Path, folder: Path | None) -> tuple[list[Dataset], list[str]]:
    """Run a folder and return the answers, reports first, and what was told."""
    told: list[str] = []
    with open_classifier(model, threads=1, settings=Settings(topk=2)) as classifier:
        run(DicomFolder(scans), classifier, [DicomAnswers(classifier, folder=folder, sender=None, tell=told.append)])
    found = [pydicom.dcmread(file) for file in (folder or scans).glob("*.dcm")]
    return sorted(found, key=lambda answer: (str(answer.Modality) != "SR", int(answer.InstanceNumber))), told


class Takeover:
    """A sink that lets another engine take over before the second scan is answered."""

    wants_frames = False

    def __init__(self, classifier: Classifier) -> None:
        self._classifier, self._seen = classifier, 0

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Count it, and swap the engines at the second."""
        del prediction, frame
        self._seen += 1
        if self._seen == 2:
            other = FakeEngine(labels=2)
            other.artifact = dataclasses.replace(self._classifier.engine.artifact, precision="fp16")
            self._classifier.engine.__exit__(None, None, None)
            self._classifier.engine = other

    def close(self) -> None:
        """Nothing to let go of."""


def test_an_answer_names_the_engine_that_gave_it_when_another_took_over(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    for number in (1, 2):
        save(make_scan(RED), tmp_path / f"in/{number}")
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        first = f"engine {classifier.engine.name} {classifier.engine.artifact.precision}"
        answers = DicomAnswers(classifier, folder=tmp_path / "out", sender=None, tell=print)
        run(DicomFolder(tmp_path / "in"), classifier, [Takeover(classifier), answers])
    reports = sorted(
        (one for one in map(pydicom.dcmread, (tmp_path / "out").glob("*.dcm")) if one.Modality == "SR"),
        key=lambda one: int(one.InstanceNumber),
    )
    assert [name in one.to_json() for one in reports for name in (first, "engine fake fp16")] == [
        True, False, False, True,
    ]  # fmt: skip


def test_an_answer_is_a_report_and_a_picture_of_the_same_study_in_new_series(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    scan = make_scan(RED)
    save(scan, tmp_path / "in/1")
    (report, picture), told = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    assert told == []
    for answer in (report, picture):
        assert answer.StudyInstanceUID == scan.StudyInstanceUID
        assert answer.PatientID == scan.PatientID
        assert answer.SeriesDescription == "CAUTION: not for diagnostic use"
        assert answer.ManufacturerModelName == "kdlight-edge"
        assert any(item.get("ManufacturerModelName") == "tiny" for item in answer.ContributingEquipmentSequence)
    assert len({scan.SeriesInstanceUID, report.SeriesInstanceUID, picture.SeriesInstanceUID}) == 3
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert picture.SOPClassUID.name == "Secondary Capture Image Storage"
    assert picture.BurnedInAnnotation == "YES"
    assert picture["Laterality"].is_empty, "what may be one of a pair must say of which, or that nobody knows"
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == scan.SOPInstanceUID


def test_the_picture_has_bars_with_words_over_and_under_what_the_network_saw(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    half = np.zeros((64, 48, 3), np.uint8)
    half[:, 24:, 0] = 220  # the label "crack" looks for red
    save(make_scan(half), tmp_path / "in/1")
    (_, picture), _ = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    pixels = picture.pixel_array.astype(int)
    height, width = pixels.shape[:2]
    bar = 2 * max(9, min(22, width // 26))
    amber, letters = pixels[:bar], pixels[-2 * bar :]
    assert (amber[..., 0] - amber[..., 2]).max() > 100
    assert letters.max() > 200
    middle = pixels[bar : height - 2 * bar]
    assert np.abs(middle[:, : width // 3]).max() < 60  # no heat where there is no red
    assert middle[:, -width // 4 :, 0].min() > 180


@needs_dcmtk
def test_dsrdump_reads_the_report(tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan) -> None:
    save(make_scan(np.stack([GREEN, RED, GREEN]), frames=3, modality="US"), tmp_path / "in/1")
    model = tiny_bundle()
    (report, picture), _ = answered(model, tmp_path / "in", tmp_path / "out")
    text = words("dsrdump", str(report.filename), "+Pl")
    digest = json.loads((model / "manifest.json").read_text())["digest"]
    for said in (
        "Comprehensive 3D SR Document", "UNVERIFIED", "CAUTION: not for diagnostic use", f"bundle digest {digest}",
        '"Algorithm Name")="tiny"', '"Algorithm Version")="1"', "engine onnxruntime fp32",
        '"Finding")=(L0,99KDLIGHT,"crack")', '"probability of no crack")', '(accepted,99KDLIGHT,"accepted")',
    ):  # fmt: skip
        assert said in text, said
    assert text.count("Measurement Group") == 3
    groups = [item.ReferencedFrameNumber for item in _sources(report)]
    assert groups == [1, 2, 3]
    pixels = picture.pixel_array
    assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 0] > 180  # the red frame is the one that is shown


def _sources(item: Dataset) -> list[Dataset]:
    found = [*item.get("ReferencedSOPSequence", [])]
    for child in item.get("ContentSequence", []):
        found += _sources(child)
    return found


@needs_dcmtk
def test_dcmdump_reads_the_picture(tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan) -> None:
    save(make_scan(np.full((64, 48), 800, np.uint16), BitsStored=12, HighBit=11), tmp_path / "in/1")
    (_, picture), _ = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    text = words("dcmdump", str(picture.filename))
    assert "[CAUTION: not for diagnostic use]" in text
    assert "[DERIVED\\SECONDARY\\OTHER]" in text


def test_answers_of_a_study_in_one_run_are_one_series_of_each_kind(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    first = make_scan(RED)
    save(first, tmp_path / "in/1")
    save(make_scan(GREEN, StudyInstanceUID=first.StudyInstanceUID), tmp_path / "in/2")
    save(make_scan(GREEN), tmp_path / "in/3")
    answers, _ = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    reports = [answer for answer in answers if answer.Modality == "SR"]
    assert [int(report.InstanceNumber) for report in reports] == [1, 2, 3]
    assert len({report.SeriesInstanceUID for report in reports}) == 2
    assert len({report.SOPInstanceUID for report in answers}) == 6


def test_answers_are_for_their_owner_only_and_are_not_taken_for_scans(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, capfd: pytest.CaptureFixture[str]
) -> None:
    save(make_scan(RED), tmp_path / "in/1")
    out = tmp_path / "out"
    arguments = ["--model", str(tiny_bundle()), "--json"]
    assert main(["infer", "--folder", str(tmp_path / "in"), "--dicom-out", str(out), *arguments]) == 0
    assert "CAUTION: not for diagnostic use" in capfd.readouterr().err
    assert [stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()] == [0o600, 0o600]
    again = tmp_path / "again"
    assert main(["infer", "--folder", str(out), "--dicom-out", str(again), *arguments]) == 1
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["reason"] for line in lines} == {"an answer of kdlight-edge, not a scan"}
    assert list(again.iterdir()) == []


def test_scans_without_a_decision_get_no_answer(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = make_scan(RED)
    scan.Rows = 4000
    save(scan, tmp_path / "in/1")
    main(
        ["infer", "--source", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--dicom-out", str(tmp_path / "out")]
    )
    capfd.readouterr()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_scan_with_the_least_a_header_can_have_is_answered(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    scan = make_scan(RED)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                    "AccessionNumber", "ReferringPhysicianName", "BodyPartExamined", "Modality"):  # fmt: skip
        delattr(scan, keyword)
    save(scan, tmp_path / "in/1")
    answers, told = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    assert told == []
    assert len(answers) == 2


def test_a_scan_that_belongs_to_no_study_is_told_to_have_no_answer(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    scan = make_scan(RED)
    del scan.StudyInstanceUID
    save(scan, tmp_path / "in/1")
    answers, told = answered(tiny_bundle(), tmp_path / "in", tmp_path / "out")
    assert answers == []
    assert told == ["scan 0 has no answer object: it has no StudyInstanceUID"]


def test_a_name_of_one_part_is_not_told_while_its_scan_is_answered(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    save(make_scan(RED, PatientName=ODD_NAME), tmp_path / "in/1")
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--folder", str(tmp_path / "in"),
        "--model", str(tiny_bundle()), "--dicom-out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
    assert ODD_NAME not in done.stdout + done.stderr
    assert "Warning" not in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, capfd: pytest.CaptureFixture[str]
) -> None:
    save(make_scan(RED), tmp_path / "in/1")
    (tmp_path / "file").write_text("")
    command = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--dicom-out"]
    assert main([*command, str(tmp_path / "file/out")]) == 1
    assert "choose another --dicom-out" in capfd.readouterr().err


def test_a_folder_that_was_tidied_away_is_made_again(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    save(make_scan(RED), tmp_path / "in/1")
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        sink = DicomAnswers(classifier, folder=tmp_path / "out", sender=None, tell=pytest.fail)
        (tmp_path / "out").rmdir()
        run(DicomFolder(tmp_path / "in"), classifier, [sink])
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
