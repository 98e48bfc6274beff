"""The listener, called by the real clients of dcmtk: what is sent is answered, and nobody unknown gets in."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from kdlight_edge.classifier import open_classifier
from kdlight_edge.dicom.listen import Listen
from kdlight_edge.sources.dicom_listener import DicomListener
from kdlight_edge.stream import run
from tests.edge.dicom.dcmtk import call, needs_dcmtk, save
from tests.edge.dicom.node import Node, Written
from tests.edge.fakes import FakeSource
from tests.waiting import LIMIT, until

pytestmark = needs_dcmtk
MakeScan = Callable[..., Dataset]
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]
RED = np.full((8, 8, 3), (220, 0, 0), np.uint8)


def test_a_listener_is_idle_while_it_waits_in_order_and_not_while_an_object_is_worked_on(
    listen: Callable[..., Node], make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = listen()
    until(lambda: node.source.idle is not None)
    node.sink.go_on.clear()
    scan = save(make_scan(RED), tmp_path / "scan.dcm")
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(call, "storescu", node.port, scan)
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


def test_an_echo_is_answered(listen: Callable[..., Node]) -> None:
    done = call("echoscu", listen().port)
    assert done.returncode == 0
    assert "Received Echo Response (Success)" in done.stderr + done.stdout


def test_what_is_stored_is_answered_and_only_then_acknowledged(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen()
    node.sink.go_on.clear()
    file = save(make_scan(np.stack([RED, RED]), frames=2, modality="US"), tmp_path / "x.dcm")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(call, "storescu", node.port, file)
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
    assert call("storescu", node.port, flag, Path(str(get_testdata_file(name)))).returncode == 0
    assert [line.decision for line in node.sink.lines] == ["accepted"] or node.sink.lines[0].label is not None


def test_an_object_without_a_picture_gets_a_line_and_does_not_end_its_study(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node = listen()
    answer = save(make_scan(RED, ManufacturerModelName="kdlight-edge"), tmp_path / "answer.dcm")
    scan = save(make_scan(RED), tmp_path / "scan.dcm")
    done = call("storescu", node.port, Path(str(get_testdata_file("test-SR.dcm"))), answer, scan)
    assert (done.stdout + done.stderr).count("Received Store Response (Success)") == 3
    assert [line.reason for line in node.sink.lines] == [
        "holds no picture (no pixel data)", "an answer of kdlight-edge, not a scan", "",
    ]  # fmt: skip


def test_an_object_whose_pixels_are_missing_gets_a_line_and_a_failure(
    listen: Callable[..., Node], tmp_path: Path, make_scan: MakeScan
) -> None:
    node, scan = listen(), make_scan(RED)
    del scan.PixelData
    done = call("storescu", node.port, save(scan, tmp_path / "scan.dcm"))
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
    done = call("echoscu", node.port, *flags)
    assert said in done.stdout + done.stderr
    assert "as WALL, from CT1, CT2 only" in node.told[0]


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
        done = call("storescu", port, file_sent)
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


def test_the_last_object_of_a_limited_run_is_acknowledged(
    tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan
) -> None:
    file = save(make_scan(RED), tmp_path / "x.dcm")
    source, sink = DicomListener(Listen("127.0.0.1", 0), lambda _: None), Written()
    with ThreadPoolExecutor(1) as pool, open_classifier(tiny_bundle(), threads=1) as classifier:
        sent = pool.submit(call, "storescu", source.port, file)
        assert run(source, classifier, [sink], limit=1).frames == 1
        assert sent.result(LIMIT).returncode == 0


def test_other_sources_end_as_before_when_a_run_is_limited(tiny_bundle: Callable[..., Path]) -> None:
    source, sink = FakeSource([RED] * 5), Written()
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        assert run(source, classifier, [sink], limit=3).frames == 3
    assert len(sink.lines) == 3
