"""The listener, called by the real clients of dcmtk: all is answered or sent back, nobody unknown gets in."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from kdlight_edge.classifier import open_classifier
from kdlight_edge.dicom.listen import Listen, read_listen
from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.selftest.bench import Bench
from kdlight_edge.selftest.dicom_fault import dicom
from kdlight_edge.sources.dicom_listener import DicomListener
from kdlight_edge.stream import run
from kdlight_edge.testing import FakeSource

MakeScan = Callable[..., Dataset]
LIMIT = 60.0
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]
RED = np.full((8, 8, 3), (220, 0, 0), np.uint8)

# pynetdicom installs programs of the same names into the environment: the real ones are those of the system.
STORESCU, ECHOSCU = (shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescu", "echoscu"))
pytestmark = pytest.mark.skipif(STORESCU is None, reason="storescu is not installed (Debian: dcmtk)")


def call(program: str | None, port: int, *arguments: object) -> "subprocess.CompletedProcess[str]":
    files = [str(word) for word in arguments if isinstance(word, Path)]
    flags = [str(word) for word in arguments if not isinstance(word, Path)]
    command = [str(program), "-v", *flags, "127.0.0.1", str(port), *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def save(scan: Dataset, file: Path) -> Path:
    scan.save_as(file, enforce_file_format=True)
    return file


class Written:
    """A sink that remembers, and may be held up."""

    wants_frames = False

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.began = threading.Event()

    def write(self, prediction: Any, frame: Any) -> None:
        """Take a line, when it may."""
        del frame
        self.began.set()
        assert self.go_on.wait(LIMIT)
        self.lines.append(prediction)

    def close(self) -> None:
        """Nothing is held back."""


class Node:
    """A listener with a classifier behind it, in a thread."""

    def __init__(self, model: Path, settings: Listen) -> None:
        self.told: list[str] = []
        self.sink = Written()
        self.source = DicomListener(settings, self.told.append)
        self.port = self.source.port
        self._classifier = open_classifier(model, threads=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._classifier:
            run(self.source, self._classifier, [self.sink], stop=self._stop)

    def end(self) -> None:
        """Stop as a signal does."""
        self._stop.set()
        self.sink.go_on.set()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


@pytest.fixture
def listen(tiny_bundle: Callable[..., Path]) -> Iterator[Callable[..., Node]]:
    nodes = []

    def start(**settings: Any) -> Node:
        nodes.append(Node(tiny_bundle(), Listen("127.0.0.1", 0, **settings)))
        return nodes[-1]

    yield start
    for node in nodes:
        node.end()


def test_a_listener_is_idle_while_it_waits_in_order_and_not_while_an_object_is_worked_on(
    listen: Callable[..., Node], make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = listen()
    until(lambda: node.source.idle is not None)
    node.sink.go_on.clear()
    scan = save(make_scan(RED), tmp_path / "scan.dcm")
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(call, STORESCU, node.port, scan)
        assert node.sink.began.wait(LIMIT)
        assert node.source.idle is None
        node.sink.go_on.set()
        assert answer.result().returncode == 0
    until(lambda: node.source.idle is not None)
    before = node.source.idle
    until(lambda: node.source.idle != before)
    server, called, go_on = node.source._server, threading.Event(), threading.Event()

    def hang(request: Any, _: Any) -> None:
        called.set()
        go_on.wait(LIMIT)
        server.shutdown_request(request)

    monkeypatch.setattr(server, "process_request", hang)
    with socket.create_connection(("127.0.0.1", node.port)):
        assert called.wait(LIMIT)
        before = node.source.idle
        time.sleep(0.7)  # longer than a turn of its loop
        assert node.source.idle == before
        go_on.set()


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


def test_an_echo_is_answered(listen: Callable[..., Node]) -> None:
    done = call(ECHOSCU, listen().port)
    assert done.returncode == 0
    assert "Received Echo Response (Success)" in done.stderr + done.stdout


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


def test_what_is_stored_is_answered_and_only_then_acknowledged(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen()
    node.sink.go_on.clear()
    file = save(make_scan(np.stack([RED, RED]), frames=2, modality="US"), tmp_path / "x.dcm")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(call, STORESCU, node.port, file)
        assert node.sink.began.wait(LIMIT)
        assert not sent.done()
        node.sink.go_on.set()
        assert "Received Store Response (Success)" in sent.result(LIMIT).stdout + sent.result().stderr
    assert [line.decision for line in node.sink.lines] == ["accepted", "accepted"]
    assert [line.scan["frame"] for line in node.sink.lines] == [1, 2]
    assert [line.index for line in node.sink.lines] == [0, 1]


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("MR_small_jp2klossless.dcm", "-xv"),
        ("JPGExtended.dcm", "-xx"),
        ("MR_small_RLE.dcm", "-xr"),
        ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
    ],
)
def test_compressed_objects_are_taken_as_they_are(listen: Callable[..., Node], name: str, flag: str) -> None:
    node = listen()
    assert call(STORESCU, node.port, flag, Path(str(get_testdata_file(name)))).returncode == 0
    assert [line.decision for line in node.sink.lines] == ["accepted"] or node.sink.lines[0].label is not None


def test_an_object_without_a_picture_gets_a_line_and_a_failure(listen: Callable[..., Node]) -> None:
    node = listen()
    done = call(STORESCU, node.port, Path(str(get_testdata_file("test-SR.dcm"))))
    assert "CannotUnderstand" in done.stdout + done.stderr or "0xc000" in (done.stdout + done.stderr).lower()
    assert [line.reason for line in node.sink.lines] == ["holds no picture (no pixel data)"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-aec", "OTHER", "-aet", "CT1"), "Called AE Title Not Recognized"),
        (("-aec", "WALL", "-aet", "EVIL"), "Calling AE Title Not Recognized"),
        (("-aec", "WALL", "-aet", "CT1"), "Received Echo Response (Success)"),
    ],
)
def test_titles_are_checked(listen: Callable[..., Node], flags: tuple[str, ...], said: str) -> None:
    node = listen(aet="WALL", allow=("CT1", "CT2"))
    done = call(ECHOSCU, node.port, *flags)
    assert said in done.stdout + done.stderr
    assert "as WALL, from CT1, CT2 only" in node.told[0]


def test_what_has_no_room_in_the_queue_is_sent_back_and_succeeds_later(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen(queue=1)
    node.sink.go_on.clear()
    files = [save(make_scan(RED), tmp_path / f"{i}.dcm") for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(call, STORESCU, node.port, files[0])
        assert node.sink.began.wait(LIMIT)
        rest = [pool.submit(call, STORESCU, node.port, file) for file in files[1:]]
        # One of the five waits in the queue, the others hear at once that there is no room.
        back = [done.result() for done in itertools.islice(as_completed(rest, LIMIT), 4)]
        node.sink.go_on.set()
        assert first.result(LIMIT).returncode == 0
    assert all(map(_no_room, back))
    assert len(node.sink.lines) == 2
    assert call(STORESCU, node.port, *files[1:]).returncode == 0
    assert len({line.scan["instance"] for line in node.sink.lines}) == 6


def _no_room(result: "subprocess.CompletedProcess[str]") -> bool:
    said = (result.stdout + result.stderr).lower()
    return "outofresources" in said.replace(" ", "") or "0xa700" in said


def test_more_callers_than_allowed_are_turned_away(listen: Callable[..., Node]) -> None:
    node = listen(associations=1)
    entity = AE()
    entity.add_requested_context(Verification)
    first = entity.associate("127.0.0.1", node.port)
    assert first.is_established
    done = call(ECHOSCU, node.port)
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
            return call(STORESCU, node.port, file).returncode
        with socket.create_connection(("127.0.0.1", node.port)) as connection:
            connection.sendall(os.urandom(64) if number % 2 else b"\x01\x00\x00\x00\x00\xff" + b"\0" * 30)
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(caller, range(30))) == [0] * 30
    assert len(node.sink.lines) == 20
    assert call(ECHOSCU, node.port).returncode == 0


def test_what_was_not_answered_at_the_end_is_sent_back(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    settings = Listen("127.0.0.1", 0)
    source = DicomListener(settings, lambda _: None)  # nobody iterates
    file = save(make_scan(RED), tmp_path / "x.dcm")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(call, STORESCU, source.port, file)
        while source._waiting.empty():
            assert not sent.done()
            threading.Event().wait(0.01)
        source.close()
        assert _no_room(sent.result(LIMIT))
    source.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", source.port)).close()
    del listen


def test_a_run_keeps_nothing_on_the_disk_and_tells_no_name(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan
) -> None:
    file_sent = save(make_scan(RED), tmp_path / "x.dcm")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    command = [*COMMAND, "--camera", "dicom://127.0.0.1:0", "--model", str(tiny_bundle()), "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=tmp_path / "here", **pipes) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        port = int(process.stderr.readline().split("dicom://127.0.0.1:")[1].split()[0])
        done = call(STORESCU, port, file_sent)
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "Received Store Response (Success)" in done.stdout + done.stderr
    assert json.loads(line)["label"] == "crack"
    assert out == ""
    for secret in ("DOE", "JANE", "4711", "STORESCU"):
        assert secret not in (line + err).upper()
    # ONNX Runtime leaves a small file of its own in TMPDIR.
    left = [
        file for file in tmp_path.rglob("*") if file.is_file() and file != file_sent and b"DICM" in file.read_bytes()
    ]
    assert left == []
    assert list((tmp_path / "here").iterdir()) == []


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SourceError, match="cannot be listened on"):
        DicomListener(Listen("127.0.0.1", taken.getsockname()[1]), lambda _: None)


def test_the_uri_of_a_listener_is_read() -> None:
    uri = "dicom://0.0.0.0:11112?aet=WALL&allow=CT1,MR 2&associations=4&queue=2"
    assert read_listen(uri) == Listen("0.0.0.0", 11112, "WALL", ("CT1", "MR 2"), 4, 2)  # noqa: S104 - an example
    assert read_listen("dicom://[::1]:104") == Listen("::1", 104)
    assert read_listen("dicom://h:1?aet=WALL#1&allow=CT1") == Listen("h", 1, "WALL#1", ("CT1",))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("dicom://0.0.0.0", "names no address and port"),
        ("dicom://:104", "names no address and port"),
        ("dicom://h:99999", "Port out of range"),
        ("dicom://h:1?aets=X", "unknown option aets; there are aet, allow"),
        ("dicom://h:1?aet=SEVENTEEN_LETTERS", "no application entity title"),
        ("dicom://h:1?allow=A,B\\C", "no application entity title"),
        ("dicom://h:1?allow=A&allow=B", "an option is given twice"),
        ("dicom://h:1?allow=", "allow names nobody"),
        ("dicom://h:1?queue=0", "associations and queue are 1 to 1000"),
        ("dicom://h:1?queue=many", "invalid literal"),
    ],
)
def test_a_uri_that_cannot_be_is_refused(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        read_listen(uri)


def test_the_last_object_of_a_limited_run_is_acknowledged(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan
) -> None:
    file = save(make_scan(RED), tmp_path / "x.dcm")
    source, sink = DicomListener(Listen("127.0.0.1", 0), lambda _: None), Written()
    with ThreadPoolExecutor(1) as pool, open_classifier(tiny_bundle(), threads=1) as classifier:
        sent = pool.submit(call, STORESCU, source.port, file)
        assert run(source, classifier, [sink], limit=1).frames == 1
        assert sent.result(LIMIT).returncode == 0


def test_other_sources_end_as_before_when_a_run_is_limited(tiny_bundle: Callable[..., Path]) -> None:
    source, sink = FakeSource([RED] * 5), Written()
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        assert run(source, classifier, [sink], limit=3).frames == 3
    assert len(sink.lines) == 3


def test_a_thousand_callers_twenty_at_once_some_cut_off_are_answered_in_bounded_memory(
    tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    found = dicom(Bench(str(tiny_bundle()), tmp_path), int(os.environ.get("KDLIGHT_CALLERS", "1000")))
    assert found.figures["stored"] == found.figures["callers"] * 4 // 5
