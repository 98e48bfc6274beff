"""Answers as objects of the same study: looked at with dcmtk, sent to its archive, and never lost without a word."""

import dataclasses
import gc
import json
import shutil
import socket
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction, Settings
from kdlight_edge.dicom.send import HELD, Node, Sender, read_node
from kdlight_edge.errors import UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.dicom import DicomAnswers
from kdlight_edge.sources.dicom import DicomFolder
from kdlight_edge.stream import run
from kdlight_edge.testing import FakeEngine

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
LIMIT = 60.0
RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)
GREEN = np.full((64, 48, 3), (0, 220, 0), np.uint8)
ODD_NAME = "GEHEIMMANN"
"""A name without a part for the given name, of which highdicom complains."""

DCMTK = {
    name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescp", "storescu", "dsrdump", "dcmdump")
}
needs_dcmtk = pytest.mark.skipif(None in DCMTK.values(), reason="dcmtk is not installed (Debian: dcmtk)")


@pytest.fixture(autouse=True)
def _sockets_of_pynetdicom() -> Iterator[None]:
    """A connection that is refused leaves pynetdicom's socket to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def save(scan: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    scan.save_as(file, enforce_file_format=True)
    return file


def answered(model: Path, scans: Path, folder: Path | None, *, topk: int = 2) -> tuple[list[Dataset], list[str]]:
    """Run a folder and return the answers, reports first, and what was told."""
    told: list[str] = []
    with open_classifier(model, threads=1, settings=Settings(topk=topk)) as classifier:
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


def words(tool: str, file: Path | str, *flags: str) -> str:
    done = subprocess.run([str(DCMTK[tool]), *flags, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


# Sent


@contextmanager
def archive(folder: Path, port: int = 0) -> Iterator[int]:
    """Run dcmtk's storescp and yield its port."""
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    command = [str(DCMTK["storescp"]), "--aetitle", "ARCHIVE", "--output-directory", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + LIMIT
            while time.monotonic() < until:
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield port
        finally:
            process.terminate()
            process.wait(LIMIT)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@needs_dcmtk
def test_a_scan_sent_by_storescu_is_answered_into_the_archive(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    scan = make_scan(RED, PatientName=ODD_NAME)
    file = save(scan, tmp_path / "scan.dcm")
    with archive(tmp_path / "archive") as port:
        command = [
            sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "dicom://127.0.0.1:0?aet=WALL",
            "--model", str(tiny_bundle()), "--json", "--dicom-to", f"ARCHIVE@127.0.0.1:{port}", "--frames", "1",
        ]  # fmt: skip
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as process:
            assert process.stderr is not None
            listening = process.stderr.readline().split("dicom://127.0.0.1:")[1].split()[0]
            sent = [str(DCMTK["storescu"]), "-aec", "WALL", "127.0.0.1", listening, str(file)]
            assert subprocess.run(sent, timeout=LIMIT, check=False).returncode == 0
            out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
    assert json.loads(out)["label"] == "crack"
    assert "not sent" not in err
    assert ODD_NAME not in out + err
    arrived = [pydicom.dcmread(name) for name in (tmp_path / "archive").iterdir()]
    assert sorted(str(item.Modality) for item in arrived) == ["OT", "SR"]
    assert {str(item.StudyInstanceUID) for item in arrived} == {str(scan.StudyInstanceUID)}
    report = next(item for item in arrived if item.Modality == "SR")
    assert "UNVERIFIED" in words("dsrdump", str(report.filename))


@pytest.fixture
def answer(tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan) -> Dataset:
    save(make_scan(RED), tmp_path / "in/1")
    answers, _ = answered(tiny_bundle(), tmp_path / "in", tmp_path / "made")
    return answers[0]


@needs_dcmtk
def test_an_archive_that_comes_back_gets_what_waited(tmp_path: Path, answer: Dataset) -> None:
    told: list[str] = []
    port = free_port()
    sender = Sender(Node("ARCHIVE", "127.0.0.1", port), told.append, waits=(0.2,) * 20)
    sender.send(answer)
    with archive(tmp_path / "archive", port):
        sender.close()
    assert told == []
    assert sender.lost == 0
    assert len(list((tmp_path / "archive").iterdir())) == 1


HOSTS = {"127.0.0.1": "no association", "no.such.host.invalid": "cannot be reached", "a" * 64: "is no name of a host"}


@pytest.mark.parametrize("host", HOSTS)
def test_an_archive_that_stays_away_costs_its_answers_and_a_line_each(host: str, answer: Dataset) -> None:
    told: list[str] = []
    port = free_port()
    sender = Sender(Node("ARCHIVE", host, port), told.append, waits=(0.05, 0.05))
    for _ in range(2):
        sender.send(answer)
    sender.close()
    assert sender.lost == len(told) == 2
    assert told[0].startswith(f"an answer was not sent to ARCHIVE@{host}:{port}: ")
    assert all(HOSTS[host] in line for line in told)


@needs_dcmtk
def test_an_answer_is_sent_once_its_archives_name_is_known_again(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, asked, told = socket.getaddrinfo, list[int](), list[str]()

    def failing_once(*arguments: Any, **more: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return lookup(*arguments, **more)

    port = free_port()
    with archive(tmp_path / "archive", port):
        monkeypatch.setattr(socket, "getaddrinfo", failing_once)
        sender = Sender(Node("ARCHIVE", "localhost", port), told.append, waits=(0.2,) * 20)
        sender.send(answer)
        sender.close()
    assert (told, sender.lost) == ([], 0)
    assert len(asked) > 1
    assert len(list((tmp_path / "archive").iterdir())) == 1


def test_a_file_whose_answers_were_not_sent_has_failed(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 0.2)
    scan = save(make_scan(RED), tmp_path / "in/1")
    command = ["infer", "--source", str(scan), "--model", str(tiny_bundle())]
    assert main([*command, "--dicom-to", f"ARCHIVE@127.0.0.1:{free_port()}"]) == 1
    assert "2 answers were not sent to ARCHIVE@" in capfd.readouterr().err
    assert main([*command, "--dicom-out", str(tmp_path / "out")]) == 0


def test_a_queue_that_is_full_loses_at_once_and_says_so(answer: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 0.1)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        sender = Sender(Node("ARCHIVE", "127.0.0.1", silent.getsockname()[1]), told.append, waits=())
        for _ in range(HELD + 3):
            sender.send(answer)
        sender.close()
    assert sender.lost == HELD + 3
    assert len(told) == 4
    assert f"{HELD} objects wait already" in told[0]
    assert told[-1].endswith("the run is over")


def test_a_node_is_read() -> None:
    assert read_node("ARCHIVE@10.0.0.5:104") == Node("ARCHIVE", "10.0.0.5", 104)
    assert read_node("MY PACS@[::1]:11112") == Node("MY PACS", "::1", 11112)


@pytest.mark.parametrize("text", ["ARCHIVE", "@h:1", "A@h", "A@h:0", "A@h:70000", "SEVENTEEN_LETTERS@h:1", "A\\B@h:1"])
def test_a_node_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_node(text)
