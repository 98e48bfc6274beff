"""Files, pipes and disks behind a camera: they may stall, be full or have no reader, and the camera never waits."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kdlight_edge.chain import verify
from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.audit import Audit
from kdlight_edge.sinks.jsonl import JsonLines
from kdlight_edge.sinks.lines import Lines
from kdlight_edge.sinks.queues import Queues
from tests.edge.fakes import prediction
from tests.waiting import LIMIT, until

SCENE = "scene:crack?size=64x64&fps=200"
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", SCENE, "--json"]


@contextlib.contextmanager
def camera(*flags: str, bundle: Path, stdout: int) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """Run a camera; give the process and what reads its metrics."""
    command = [*COMMAND, "--model", str(bundle), "--metrics", "127.0.0.1:0", *flags]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]

        def metrics() -> str:
            with urllib.request.urlopen(url, timeout=LIMIT) as answer:  # noqa: S310 - the address it printed
                return str(answer.read().decode())

        try:
            yield process, metrics
        finally:
            process.kill()


def value(page: str, name: str) -> float:
    found = re.search(rf"^kdlight_{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_pipe_that_nobody_reads_costs_lines_and_not_frames(tiny_bundle: Callable[..., Path]) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with camera(bundle=tiny_bundle(), stdout=writing) as (process, metrics):
        os.close(writing)
        until(lambda: value(metrics(), 'sink_dropped_total{sink="stdout",reason="full"}') > 50)
        page = metrics()
        decisions = ("accepted", "abstained", "outlier")
        answered = sum(value(page, f'results_total{{decision="{decision}"}}') for decision in decisions)
        assert answered > value(page, 'sink_delivered_total{sink="stdout"}') + 1000
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(LIMIT) == 0
    os.close(reading)
    assert re.search(r"stdout: [\d,]+ of [\d,]+ results were not delivered \([\d,]+ full, [\d,]+ closing\)", said)


def test_a_full_disk_is_told_once_and_the_run_goes_on_and_tells_when_there_is_room_again(
    disk_of: Callable[[int], Path], tiny_bundle: Callable[..., Path]
) -> None:
    disk = disk_of(128)
    lines, audit = disk / "out.jsonl", disk / "audit.jsonl"
    flags = ["--json-file", str(lines), "--audit", str(audit)]
    (disk / "ballast").write_bytes(bytes(60_000))
    with camera(*flags, bundle=tiny_bundle(), stdout=subprocess.DEVNULL) as (process, metrics):
        for sink in ("json-file", "audit"):
            until(lambda name=sink: value(metrics(), f'sink_dropped_total{{sink="{name}",reason="failed"}}') > 20)  # type: ignore[misc]
        (disk / "ballast").unlink()
        before = {sink: value(metrics(), f'sink_delivered_total{{sink="{sink}"}}') for sink in ("json-file", "audit")}
        for sink, count in before.items():
            until(lambda name=sink, least=count: value(metrics(), f'sink_delivered_total{{sink="{name}"}}') > least + 5)  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
        assert process.wait(LIMIT) == 0
    for sink in ("json-file", "audit"):
        mine = [line for line in said if line.startswith(f"kdlight-edge: {sink}: ")]
        assert "No space left on device" in mine[0]
        assert re.fullmatch(rf"kdlight-edge: {sink}: works again; [\d,]+ results were lost until now", mine[1])
        assert "results were not delivered" in mine[2]
        assert len(mine) == 3
    indices = [json.loads(line)["index"] for line in lines.read_text().splitlines()]
    assert indices == sorted(set(indices))
    found = verify(audit, b"")
    assert (found.fault, found.closed) == ("", True)
    records = [json.loads(line)["record"] for line in audit.read_text().splitlines()]
    told = re.search(r"audit: ([\d,]+) of ([\d,]+) results were not", "\n".join(said))
    assert told is not None
    assert found.lost == int(told[1].replace(",", ""))
    assert sum("index" in record for record in records) + found.lost == int(told[2].replace(",", ""))


class Stalled(JsonLines):
    """JSON lines on a disk that stalls until it is let go on."""

    def __init__(self, go_on: threading.Event) -> None:
        super().__init__(Lines(os.open(os.devnull, os.O_WRONLY), "stalled", at_once=True, owned=True), {})
        self.go_on = go_on
        self.got: list[int] = []

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Wait as a disk makes one wait: nothing wakes it but the disk."""
        self.go_on.wait(LIMIT)
        self.got.append(prediction.index)
        super().write(prediction, frame)


def test_a_disk_that_stalls_is_left_behind_at_the_end_and_not_waited_for() -> None:
    stop, go_on = threading.Event(), threading.Event()
    queues = Queues(stop, live=True)
    sink = queues.before("json-file", Stalled(go_on), room=10)
    for index in range(100):
        sink.write(prediction(index), None)
    stop.set()
    sink.close()
    (delivery,) = [count() for count in queues.deliveries]
    assert delivery.delivered == 0
    assert delivery.dropped["full"] >= 89
    go_on.set()


def test_an_audit_on_a_disk_that_stalls_seals_how_many_it_missed(tmp_path: Path) -> None:
    stop, go_on = threading.Event(), threading.Event()

    class Slow(Audit):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            go_on.wait(LIMIT)
            super().write(prediction, frame)

    queues = Queues(stop, live=True)
    sink = queues.before("audit", Slow(tmp_path / "a", {}), room=10)
    for index in range(100):
        sink.write(prediction(index), None)
    go_on.set()
    sink.close()
    found = verify(tmp_path / "a", b"")
    records = [json.loads(line)["record"] for line in (tmp_path / "a").read_text().splitlines()]
    indices = [record["index"] for record in records if "index" in record]
    assert found.fault == ""
    assert indices[-10:] == list(range(90, 100))
    assert len(indices) + found.lost == 100
    assert found.lost >= 89


def test_a_result_is_told_only_after_the_audit_has_it_and_a_stuck_audit_is_not_waited_for_again() -> None:
    stop, go_on = threading.Event(), threading.Event()
    queues = Queues(stop, live=True)
    audit = Stalled(go_on)
    told = Stalled(threading.Event())
    told.go_on.set()
    first, second = queues.before("audit", audit), queues.before("stdout", told, after="audit")

    def write(index: int) -> None:
        one = prediction(index)
        first.write(one, None)
        second.write(one, None)

    write(0)
    go_on.set()
    until(lambda: told.got == [0])
    assert audit.got == [0]
    go_on.clear()
    for index in range(1, 200):
        write(index)
    until(lambda: told.got == list(range(200)))  # within one patience, not one for each
    assert audit.got == [0]
    go_on.set()
    for sink in (first, second):
        sink.close()
    assert audit.got == list(range(200))


def test_pictures_that_nobody_wants_do_not_wait_in_a_queue() -> None:
    go_on = threading.Event()
    kept: list[Frame | None] = []

    class Keeps(Stalled):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            super().write(prediction, frame)
            kept.append(frame)

    outbox = Queues(threading.Event(), live=True).before("json-file", Keeps(go_on))
    outbox.write(prediction(0), Frame(np.zeros((4, 4, 3), np.uint8), Moment.now(), "cam", 0))
    go_on.set()
    outbox.close()
    assert kept == [None]


def test_a_folder_waits_for_its_disk_and_loses_nothing() -> None:
    sink = Stalled(threading.Event())
    assert Queues(threading.Event(), live=False).before("json-file", sink) is sink
    sink.close()
