"""Answers that wait in a folder while their archive is away: none is lost, whatever becomes of the run."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.dicom.send import HELD, Node, Sender
from kdlight_edge.dicom.spool import Spool
from kdlight_edge.errors import KDLightError
from tests.edge.dicom.dcmtk import archive, call, needs_dcmtk, save
from tests.edge.ports import free_port
from tests.waiting import LIMIT, until

pytestmark = pytest.mark.usefixtures("sockets_of_pynetdicom")

RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)


@needs_dcmtk
def test_answers_that_a_killed_run_left_in_its_spool_are_sent_by_the_next_one(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: Callable[..., Dataset]
) -> None:
    spool, port = tmp_path / "spool", free_port()
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "dicom://127.0.0.1:0", "--model",
        str(tiny_bundle()), "--dicom-to", f"ARCHIVE@127.0.0.1:{port}", "--dicom-spool", str(spool),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        listening = process.stderr.readline().split("dicom://127.0.0.1:")[1].split()[0]
        for number in range(3):
            assert call("storescu", int(listening), save(make_scan(RED), tmp_path / str(number))).returncode == 0
        process.kill()
    assert len(list(spool.glob("*.dcm"))) == 6
    assert {path.stat().st_mode & 0o777 for path in (spool, *spool.iterdir())} == {0o700, 0o600}
    (spool / "00000009-torn.part").write_bytes(b"DI")
    with archive(tmp_path / "archive", port):
        again = subprocess.run(
            [*command[:4], "--source", str(tmp_path / "0"), *command[6:]],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert f"6 answers of an earlier run wait in {spool}" in again.stderr
    assert len(list((tmp_path / "archive").iterdir())) == 8
    assert list(spool.iterdir()) == []


def test_answers_for_an_archive_that_stays_away_stay_in_the_spool(tmp_path: Path, answer: Dataset) -> None:
    told: list[str] = []
    node = Node("ARCHIVE", "127.0.0.1", free_port())
    sender = Sender(node, told.append, waits=(0.05,), waiting=Spool(tmp_path / "spool", told.append))
    for _ in range(HELD + 3):
        sender.send(answer)
    sender.close()
    assert sender.lost == 0
    assert told[-1].startswith(f"{HELD + 3} answers for ARCHIVE@127.0.0.1:{node.port} wait in {tmp_path}/spool;")
    found = sorted((tmp_path / "spool").iterdir())
    assert [int(path.name[:8]) for path in found] == list(range(1, HELD + 4))


def test_the_hundred_millionth_answer_waits_behind_those_before_it(tmp_path: Path, answer: Dataset) -> None:
    spool = Spool(tmp_path / "spool", print)
    spool._last = 99_999_998
    for number in range(3):
        answer.SeriesNumber = number
        spool.put(answer)
    spool.close()
    again = Spool(tmp_path / "spool", print)
    again.end()
    for number in range(3):
        first = again.first()
        assert first is not None
        assert first.SeriesNumber == number
        again.settle(sent=True)
    assert again.first() is None
    again.close()


def test_answers_that_the_archive_refuses_are_put_aside(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(sender: Sender, _: Dataset) -> str:
        sender._away = False
        return "refused with status 0xA900"

    monkeypatch.setattr(Sender, "_associate_and_store", refused)
    told: list[str] = []
    spool = tmp_path / "spool"
    sender = Sender(Node("ARCHIVE", "127.0.0.1", 104), told.append, waits=(), waiting=Spool(spool, told.append))
    sender.send(answer)
    until(lambda: told)
    sender.close()
    assert sender.lost == 1
    assert told == [f"an answer was not sent to ARCHIVE@127.0.0.1:104: refused with status 0xA900; in {spool}/refused"]
    (left,) = (spool / "refused").iterdir()
    assert pydicom.dcmread(left).SOPInstanceUID == answer.SOPInstanceUID


def test_refused_answers_make_room_for_newer_ones_and_other_files_beside_them_do_not(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, refused = list[str](), tmp_path / "spool" / "refused"
    for run in range(3):  # each numbers its answers from 1
        spool = Spool(tmp_path / "spool", told.append)
        for number in range(3):
            answer.SOPInstanceUID = f"1.{run}.{number}"
            spool.put(answer)
            (file,) = (tmp_path / "spool").glob("*.dcm")
            os.utime(file, (0, 10 * run + number))
            if run == number == 0:
                monkeypatch.setattr("kdlight_edge.dicom.spool.REFUSED_BYTES", file.stat().st_size * 5)
            spool.settle(sent=False)
        (refused / "note.txt").write_bytes(bytes(1 << 20))
        spool.close()
    assert {path.name.partition("-")[2] for path in refused.glob("*.dcm")} == {
        "1.1.1.dcm", "1.1.2.dcm", "1.2.0.dcm", "1.2.1.dcm", "1.2.2.dcm",
    }  # fmt: skip
    assert (refused / "note.txt").exists()
    assert len(told) == 2, "once a run"
    assert told[0].startswith(f"{refused} holds ")
    assert told[0].endswith("bytes: the oldest answers in it make room")


def test_the_end_of_a_run_waits_for_an_answer_behind_one_that_was_refused(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Dataset] = []
    told: list[str] = []
    spool = Spool(tmp_path / "spool", told.append)

    def second_alone(sender: Sender, made: Dataset) -> str:
        sender._away = False
        tries.append(made)
        if len(tries) == 1:
            return "refused with status 0xA900"
        until(lambda: spool._over)
        sender._over.wait(0.2)  # set at once where the end does not wait
        return ""

    monkeypatch.setattr(Sender, "_associate_and_store", second_alone)
    sender = Sender(Node("ARCHIVE", "127.0.0.1", 104), told.append, waits=(), waiting=spool)
    for _ in range(2):
        sender.send(answer)
    until(lambda: len(tries) == 2)
    sender.close()
    assert (sender.lost, len(told), len(list((tmp_path / "spool").glob("*.dcm")))) == (1, 1, 0)


@pytest.fixture
def first_of_two(tmp_path: Path, answer: Dataset) -> Path:
    """The first file of a spool with two answers."""
    spool = Spool(tmp_path / "spool", print)
    for _ in range(2):
        spool.put(answer)
    spool.close()
    return tmp_path / "spool" / f"00000001-{answer.SOPInstanceUID}.dcm"


def sent_past(odd: Path, folder: Path) -> tuple[int, str]:
    """Send a spool, of which the answer behind an odd file arrives; return how much was lost and what was told last."""
    told: list[str] = []
    with archive(folder) as port:
        waiting = Spool(odd.parent, told.append)
        sender = Sender(Node("ARCHIVE", "127.0.0.1", port), told.append, waits=(), waiting=waiting)
        sender.close()
    assert len(list(folder.iterdir())) == 1
    assert [path.name for path in odd.parent.rglob("*.dcm")] == [odd.name]
    return sender.lost, told[-1]


@needs_dcmtk
def test_a_spoiled_file_in_the_spool_holds_up_no_other(tmp_path: Path, first_of_two: Path) -> None:
    first_of_two.write_bytes(b"no scan")
    _, told = sent_past(first_of_two, tmp_path / "archive")
    assert told == f"{first_of_two} cannot be read (InvalidDicomError); it is not sent"


@needs_dcmtk
def test_a_file_that_can_be_read_and_not_be_sent_holds_up_no_other(
    tmp_path: Path, first_of_two: Path, answer: Dataset
) -> None:
    del answer.SOPClassUID
    pydicom.dcmwrite(first_of_two, answer)
    lost, told = sent_past(first_of_two, tmp_path / "archive")
    assert lost == 1
    assert told.endswith(f"; in {tmp_path}/spool/refused")


def test_a_spool_is_one_runs_alone_and_must_be_writable(tmp_path: Path, answer: Dataset) -> None:
    first = Spool(tmp_path / "spool", print)
    with pytest.raises(KDLightError, match="in use by another run; give each its own --dicom-spool"):
        Spool(tmp_path / "spool", print)
    first.close()
    (tmp_path / "file").touch()
    with pytest.raises(KDLightError, match="cannot be made: File exists; choose another --dicom-spool"):
        Spool(tmp_path / "file", print)
    second = Spool(tmp_path / "spool", print)
    (tmp_path / "spool").rmdir()
    second.put(answer)
    assert len(list((tmp_path / "spool").iterdir())) == 1
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    second.close()


@pytest.mark.parametrize("which", [1, 2])
def test_an_answer_that_the_disk_cannot_keep_is_not_taken_and_leaves_nothing(
    tmp_path: Path, answer: Dataset, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    spool, asked = Spool(tmp_path / "spool", print), list[list[str]]()

    def sync(_: int) -> None:
        asked.append([path.suffix for path in (tmp_path / "spool").iterdir()])
        if len(asked) == which:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", sync)
        with pytest.raises(KDLightError, match="cannot be written: Input/output error; make room or choose another"):
            spool.put(answer)
    assert asked == [[".part"], [".dcm"]][:which]  # its content first, then its name
    assert (list((tmp_path / "spool").iterdir()), len(spool)) == ([], 0)
    spool.close()
