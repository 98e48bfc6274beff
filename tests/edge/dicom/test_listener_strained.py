"""The listener under those who send too much, too many, or nonsense: all is answered or sent back."""

import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from kdlight_edge.dicom.listen import Listen
from kdlight_edge.selftest.bench import Bench
from kdlight_edge.selftest.dicom_fault import dicom
from kdlight_edge.selftest.outcome import Wrong
from kdlight_edge.sources.dicom_listener import DicomListener
from tests.edge.dicom.dcmtk import call, needs_dcmtk, save
from tests.edge.dicom.node import Node
from tests.waiting import LIMIT

pytestmark = needs_dcmtk
MakeScan = Callable[..., Dataset]
RED = np.full((8, 8, 3), (220, 0, 0), np.uint8)


def _no_room(result: subprocess.CompletedProcess[str]) -> bool:
    said = (result.stdout + result.stderr).lower()
    return "outofresources" in said.replace(" ", "") or "0xa700" in said


def test_a_deflated_object_is_taken_and_one_that_would_fill_the_memory_is_not(
    listen: Callable[..., Node], make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, scan = listen(), make_scan(np.zeros((512, 512, 3), np.uint8))
    caller = AE()
    caller.add_requested_context(scan.SOPClassUID, DeflatedExplicitVRLittleEndian)
    scan.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    association = caller.associate("127.0.0.1", node.port)
    statuses = [association.send_c_store(scan).Status]
    monkeypatch.setattr("kdlight_edge.dicom.scan.LARGEST_INFLATED", 512 * 512)
    statuses.append(association.send_c_store(scan).Status)
    association.release()
    assert statuses == [0x0000, 0xC000]
    assert "inflates to more than 262,144 bytes" in node.sink.lines[1].reason


def test_a_caller_that_sends_without_end_is_cut_off_and_the_next_is_answered(
    listen: Callable[..., Node], make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.dicom.caller.LARGEST_OBJECT", 500_000)
    node, large, small = listen(), make_scan(np.zeros((512, 512, 3), np.uint8)), make_scan(RED)
    caller = AE()
    caller.add_requested_context(large.SOPClassUID, ExplicitVRLittleEndian)
    for scan, status in ((large, None), (small, 0)):
        association = caller.associate("127.0.0.1", node.port)
        assert association.send_c_store(scan).get("Status") == status
        for _ in range(9) if status == 0 else ():  # what was answered counts no more
            assert association.send_c_store(make_scan(np.zeros((200, 100, 3), np.uint8))).Status == 0
        association.release()


def test_a_caller_whose_answer_took_long_is_not_taken_for_silent_and_may_send_the_next(
    listen: Callable[..., Node], make_scan: MakeScan
) -> None:
    node, scan = listen(), make_scan(RED)
    node.source._ae.network_timeout = 0.5
    node.sink.go_on.clear()
    caller = AE()
    caller.add_requested_context(scan.SOPClassUID, ExplicitVRLittleEndian)
    association = caller.associate("127.0.0.1", node.port)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(association.send_c_store, scan)
        assert node.sink.began.wait(LIMIT)
        (served,) = node.source._ae.active_associations
        while not served.dul.idle_timer_expired():
            assert not first.done()
        node.sink.go_on.set()
        assert first.result(LIMIT).Status == 0
    assert association.send_c_store(scan).Status == 0
    association.release()


def test_what_has_no_room_in_the_queue_is_sent_back_and_succeeds_later(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen(queue=1)
    node.sink.go_on.clear()
    files = [save(make_scan(RED), tmp_path / f"{i}.dcm") for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(call, "storescu", node.port, files[0])
        assert node.sink.began.wait(LIMIT)
        rest = [pool.submit(call, "storescu", node.port, file) for file in files[1:]]
        # One of the five waits in the queue, the others hear at once that there is no room.
        back = [done.result() for done in itertools.islice(as_completed(rest, LIMIT), 4)]
        node.sink.go_on.set()
        assert first.result(LIMIT).returncode == 0
    assert all(map(_no_room, back))
    assert len(node.sink.lines) == 2
    assert call("storescu", node.port, *files[1:]).returncode == 0
    assert len({line.scan["instance"] for line in node.sink.lines}) == 6


def test_more_callers_than_allowed_are_turned_away(listen: Callable[..., Node]) -> None:
    node = listen(associations=1)
    entity = AE()
    entity.add_requested_context(Verification)
    first = entity.associate("127.0.0.1", node.port)
    assert first.is_established
    done = call("echoscu", node.port)
    first.release()
    assert done.returncode != 0
    assert "Local Limit Exceeded" in done.stdout + done.stderr


def test_callers_that_are_cut_off_and_talk_nonsense_stop_nobody(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen(associations=40)
    file = save(make_scan(RED), tmp_path / "x.dcm")

    def caller(number: int) -> int:
        if number % 3:
            return call("storescu", node.port, file).returncode
        with socket.create_connection(("127.0.0.1", node.port)) as connection:
            connection.sendall(os.urandom(64) if number % 2 else b"\x01\x00\x00\x00\x00\xff" + b"\0" * 30)
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(caller, range(30))) == [0] * 30
    assert len(node.sink.lines) == 20
    assert call("echoscu", node.port).returncode == 0


def test_what_was_not_answered_at_the_end_is_sent_back(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    settings = Listen("127.0.0.1", 0)
    source = DicomListener(settings, lambda _: None)  # nobody iterates
    file = save(make_scan(RED), tmp_path / "x.dcm")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(call, "storescu", source.port, file)
        while source._waiting.empty():
            assert not sent.done()
            threading.Event().wait(0.01)
        source.close()
        assert _no_room(sent.result(LIMIT))
    source.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", source.port)).close()
    del listen


def test_a_listener_may_be_closed_by_two_at_the_same_moment() -> None:
    told: list[str] = []
    for _ in range(10):
        listener = DicomListener(Listen("127.0.0.1", 0), told.append)
        together = threading.Barrier(4)

        def close(listener: DicomListener = listener, together: threading.Barrier = together) -> None:
            together.wait(LIMIT)
            listener.close()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(close) for _ in range(4)]:
                done.result(LIMIT)


def test_a_thousand_callers_twenty_at_once_some_cut_off_are_answered_in_bounded_memory(
    tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    found = dicom(Bench(str(tiny_bundle()), tmp_path), int(os.environ.get("KDLIGHT_CALLERS", "1000")))
    assert found.figures["stored"] == found.figures["callers"] * 4 // 5


def test_an_object_whose_status_was_lost_may_have_two_lines_and_one_that_was_heard_of_may_not(
    tiny_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, deaf = Association.send_c_store, itertools.count()

    def lose_the_first(self: Association, scan: Dataset) -> Dataset:
        status = send(self, scan)
        return Dataset() if next(deaf) == 0 else status

    monkeypatch.setattr(Association, "send_c_store", lose_the_first)
    found = dicom(Bench(str(tiny_bundle()), tmp_path), 5)
    assert found.figures["stored"] == 4

    def repeat(self: Association, scan: Dataset) -> Dataset:
        send(self, scan)
        return send(self, scan)

    monkeypatch.setattr(Association, "send_c_store", repeat)
    with pytest.raises(Wrong, match="4 answered, in 8 lines, of 5 callers, who sent 0 again as they heard nothing"):
        dicom(Bench(str(tiny_bundle()), tmp_path), 5)
