"""A sender hears of success once its result lies where it should, and keeps its object until then."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.classifier import open_classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.dicom.listen import Listen
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.outbox import Outbox
from kdlight_edge.sources.dicom_listener import DicomListener
from kdlight_edge.stream import run
from tests.edge.dicom.dcmtk import call, needs_dcmtk, save
from tests.waiting import LIMIT, until

MakeScan = Callable[..., Dataset]


@contextmanager
def running(command: list[str]) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return int(line.split()[3].rpartition(":")[2])
    raise AssertionError("it ended without listening")


def send(port: int, *files: Path) -> str:
    return call("storescu", port, *files).stderr


@needs_dcmtk
@pytest.mark.parametrize("flag", ["--json-file", "--audit", "--csv"])
def test_an_object_whose_line_found_no_room_on_the_disk_is_sent_back(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan, disk_of: Callable[[int], Path], flag: str
) -> None:
    disk = disk_of(64)
    save(make_scan(np.full((8, 8), 90, np.uint8)), tmp_path / "scan.dcm")
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "dicom://127.0.0.1:0", "--model",
        str(tiny_bundle()), "--json", flag, str(disk / "results"),
    ]  # fmt: skip
    with running(command) as process:
        port = port_of(process)
        assert "(Success)" in send(port, tmp_path / "scan.dcm")
        (disk / "other").write_bytes(b"\0" * os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize)
        said = send(port, *[tmp_path / "scan.dcm"] * 60)  # the last block of the file has some room
        assert "(Refused: OutOfResources)" in said
        (disk / "other").unlink()
        assert "(Success)" in send(port, tmp_path / "scan.dcm")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


@needs_dcmtk
@pytest.mark.parametrize("flags", [["--dicom-out"], ["--dicom-to", "ARCHIVE@127.0.0.1:9", "--dicom-spool"]])
def test_a_listener_goes_on_where_its_answers_find_no_room_and_sends_the_scan_back(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan, disk_of: Callable[[int], Path],
    flags: list[str],
) -> None:  # fmt: skip
    disk = disk_of(4096)
    save(make_scan(np.full((64, 64), 90, np.uint8)), tmp_path / "scan.dcm")
    (disk / "other").write_bytes(b"\0" * (4000 << 10))
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "dicom://127.0.0.1:0", "--model",
        str(tiny_bundle()), *flags, str(disk / "answers"),
    ]  # fmt: skip
    with running(command) as process:
        port = port_of(process)
        assert "(Refused: OutOfResources)" in send(port, tmp_path / "scan.dcm")
        (disk / "other").unlink()
        assert "(Success)" in send(port, tmp_path / "scan.dcm")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        assert process.stderr is not None
        told = process.stderr.read()
    assert f"cannot be written: No space left on device; make room or choose another {flags[-1]}" in told
    assert len(list((disk / "answers").glob("*.dcm"))) >= 2


class Stuck:
    """A sink that writes when it may, or refuses."""

    wants_frames = False

    def __init__(self) -> None:
        self.go_on, self.began = threading.Event(), threading.Event()
        self.refuse = False

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Wait, then take it or not."""
        del prediction, frame
        self.began.set()
        assert self.go_on.wait(LIMIT)
        if self.refuse:
            raise OSError("no room")

    def close(self) -> None:
        """Nothing is held back."""


@needs_dcmtk
@pytest.mark.parametrize(("frames", "status"), [(1, "Success"), (3, "Refused: OutOfResources")])
def test_a_sender_hears_what_becomes_of_the_object_in_work_when_the_program_is_told_to_end(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan, frames: int, status: str
) -> None:
    scan = save(make_scan(np.full((frames, 8, 8), 90, np.uint8), frames=frames), tmp_path / "scan.dcm")
    sink, stop, said = Stuck(), threading.Event(), list[str]()
    listener = DicomListener(Listen("127.0.0.1", 0), lambda _: None)
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        whole = threading.Thread(target=run, args=(listener, classifier, [sink]), kwargs={"stop": stop})
        sender = threading.Thread(target=lambda: said.append(send(listener.port, scan)))
        whole.start()
        sender.start()
        assert sink.began.wait(LIMIT)
        stop.set()
        time.sleep(0.2)  # a signal comes, and the source is closed, while the line of its first frame is written
        sink.go_on.set()
        sender.join(LIMIT)
        whole.join(LIMIT)
    assert f"({status})" in said[0]


def prediction() -> Prediction:
    return Prediction("fake", 0, Moment.now(), Moment.now(), "accepted", "")


def test_what_is_still_waiting_or_was_refused_has_not_arrived() -> None:
    sink, stop = Stuck(), threading.Event()
    outbox = Outbox("stuck", sink, stop=stop, alone=True, patience=0.2, report=lambda _: None)
    outbox.write(first := prediction(), None)
    assert not outbox.arrived(first)
    sink.go_on.set()
    until(lambda: not outbox.delivery().waiting)
    outbox.write(second := prediction(), None)
    assert outbox.arrived(second)
    sink.refuse = True
    outbox.write(third := prediction(), None)
    assert not outbox.arrived(third)
    outbox.close()
