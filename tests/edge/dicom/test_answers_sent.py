"""Answers that are sent to an archive, dcmtk's own: none is lost without a word."""

import copy
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from kdlight_edge.cli import main
from kdlight_edge.dicom.send import HELD, UNTAKEN, Node, Sender, read_node
from kdlight_edge.errors import UsageError
from tests.edge.dicom.dcmtk import archive, call, needs_dcmtk, save, words
from tests.edge.ports import free_port
from tests.waiting import LIMIT, until

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("sockets_of_pynetdicom")

RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)
ODD_NAME = "GEHEIMMANN"
"""A name without a part for the given name, of which highdicom complains."""


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
            assert call("storescu", int(listening), "-aec", "WALL", file).returncode == 0
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


@needs_dcmtk
def test_an_archive_that_is_away_for_longer_than_all_attempts_loses_nothing(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.AWAY_SECONDS", 0.2)
    away, told = threading.Event(), list[str]()

    def tell(line: str) -> None:
        told.append(line)
        away.set()

    port = free_port()
    sender = Sender(Node("ARCHIVE", "127.0.0.1", port), tell, waits=())
    for _ in range(2):
        sender.send(answer)
    assert away.wait(LIMIT)
    with archive(tmp_path / "archive", port):
        sender.close()
    name = f"ARCHIVE@127.0.0.1:{port}"
    assert told == [f"{name} is away (no connection); answers wait, 64 at most", f"{name} takes answers again"]
    assert sender.lost == 0


HOSTS = {"127.0.0.1": "no connection", "no.such.host.invalid": "cannot be reached"}


@pytest.mark.parametrize("host", HOSTS)
def test_an_archive_that_stays_away_costs_its_answers_which_is_told_with_the_reason(
    host: str, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 2.0)
    told: list[str] = []
    port = free_port()
    sender = Sender(Node("ARCHIVE", host, port), told.append, waits=(0.05, 0.05))
    for _ in range(2):
        sender.send(answer)
    sender.close()
    assert sender.lost == 2
    assert told[-1].startswith(f"2 answers were not sent to ARCHIVE@{host}:{port}: the run is over (")
    assert all(HOSTS[host] in line for line in told)


def test_a_name_that_no_host_can_have_costs_each_answer_a_line(answer: Dataset) -> None:
    told: list[str] = []
    sender = Sender(Node("ARCHIVE", "a" * 64, 104), told.append, waits=(0.05, 0.05))
    for _ in range(2):
        sender.send(answer)
    sender.close()
    assert sender.lost == len(told) == 2
    assert all(line.endswith("is no name of a host") for line in told)


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


@needs_dcmtk
def test_more_answers_than_can_wait_are_all_sent_to_an_archive_that_takes_its_time(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.HELD", 2)
    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 1.0)
    told: list[str] = []
    with archive(tmp_path / "archive") as port:
        sender = Sender(Node("ARCHIVE", "127.0.0.1", port), told.append)
        for _ in range(10):
            sender.send(answer)
        sender.close()
    assert (told, sender.lost) == ([], 0)


def test_a_queue_that_is_full_and_stays_so_loses_and_says_so(answer: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr("kdlight_edge.dicom.send.ROOM_SECONDS", 0.1)
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


def test_the_end_of_a_run_waits_no_longer_for_an_archive_that_refuses_all(
    answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(sender: Sender, _: Dataset) -> str:
        sender._away = False
        return "refused with status 0xA900"

    monkeypatch.setattr("kdlight_edge.dicom.send.CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(Sender, "_associate_and_store", refused)
    told: list[str] = []
    sender = Sender(Node("ARCHIVE", "127.0.0.1", 104), told.append, waits=(0.2,))
    for _ in range(20):
        sender.send(answer)
    sender.close()
    assert sender.lost == 20
    assert "the run is over (refused with status 0xA900)" in told[-1]


def test_a_node_is_read() -> None:
    assert read_node("ARCHIVE@10.0.0.5:104") == Node("ARCHIVE", "10.0.0.5", 104)
    assert read_node("MY PACS@[::1]:11112") == Node("MY PACS", "::1", 11112)


@pytest.mark.parametrize("text", ["ARCHIVE", "@h:1", "A@h", "A@h:0", "A@h:70000", "SEVENTEEN_LETTERS@h:1", "A\\B@h:1"])
def test_a_node_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_node(text)


def test_an_archive_that_does_not_know_us_gets_the_answers_once_it_does_and_of_a_kind_it_does_not_take_none(
    answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.send.AWAY_SECONDS", 0.05)
    told, taken = list[str](), list[str]()

    def take(event: evt.Event) -> int:
        taken.append(str(event.dataset.SOPInstanceUID))
        return 0

    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(answer.SOPClassUID)
    entity.require_calling_aet = ["OTHER"]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert server is not None
    other = copy.deepcopy(answer)
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    sender = Sender(Node("ARCHIVE", "127.0.0.1", server.server_address[1]), told.append, waits=(0.05,))
    try:
        sender.send(other)
        sender.send(answer)
        until(lambda: told, "the word that it is away")
        entity.require_calling_aet = []
        sender.close()
    finally:
        server.shutdown()
    name = f"ARCHIVE@127.0.0.1:{server.server_address[1]}"
    assert told == [
        f"{name} is away (no association: it does not know our title, or is too busy); answers wait, 64 at most",
        f"{name} takes answers again",
        f"an answer was not sent to {name}: {UNTAKEN} (CT Image Storage; further ones are told at the end)",
    ]
    assert taken == [str(answer.SOPInstanceUID)]
