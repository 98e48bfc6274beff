"""The clock of the whole process is stepped back an hour, as a network time server may do: everything goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.selftest.bench import SETTLED, finish
from kdlight_edge.selftest.broker import Broker
from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.child import infer
from tests.edge.encoded import jpeg

STEP = -3600
MAX_AGE_MS = 60_000
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)

START = """
import sys, threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds) or None
from kdlight_edge.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""Python sleeps until a moment of the clock that is never set, and libfaketime moves that moment too: EINVAL."""


@pytest.mark.slow
def test_a_clock_stepped_back_harms_no_age_event_timeout_or_waiting_result(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed; apt-get install faketime brings it")
    pytest.importorskip("paho.mqtt", reason="pip install 'kdlight-edge[mqtt]'")
    offset, events = tmp_path / "offset", tmp_path / "events"
    offset.write_text("+0")
    # Every clock of the process but the one that is never set. The file is read anew once a second: reading it at each
    # call takes a slow machine so long that frames are a second apart, and the event between them over.
    environment = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip
    server = Broker()
    flags = ["--mqtt", f"mqtt://127.0.0.1:{server.port}", "--mqtt-device", "stepped"]
    flags += ["--mqtt-store", str(tmp_path / "store.sqlite"), "--json-file", str(tmp_path / "results.jsonl")]
    flags += ["--event-dir", str(events), "--event-hold", "1", "--max-age", f"{MAX_AGE_MS / 1000:g}"]
    with Camera() as camera:
        camera._ordinary = [jpeg((150 + 6 * shade, 0, 0), (128, 96)) for shade in range(16)]
        with infer(
            camera.uri, str(tiny_bundle()), *flags, patience=5.0, start=("-c", START), environment=environment
        ) as run:
            run.wait(lambda: len(server.results) >= 3 * SETTLED, "results at the broker")
            server.stop()
            run.wait(lambda: run.said("mqtt:", "lost") is not None, "word of a lost broker")
            run.more(SETTLED, "results while the broker is away")
            before = run.records[-1]["captured"]
            offset.write_text(str(STEP))
            run.wait(lambda: run.records[-1]["captured"] < before, "a result told an hour earlier")
            run.more(3 * SETTLED, "results after the step, the broker still away")
            assert run.said(camera.uri, "lost") is None
            server.start()
            run.wait(lambda: run.said("mqtt:", "is back") is not None, "word of the broker being back")
            camera.switch("quiet")
            run.wait(lambda: run.said(camera.uri, "lost", "no frame for 5 s") is not None, "word of a silent camera")
            run.wait(lambda: len(server.once()) >= len(run.records), "every result at the broker")
            finish(run, camera)
    server.stop()
    records = run.records
    hours = {record["captured"][:13] for record in records}
    assert len(hours) >= 2
    assert all(0 <= record["age_ms"] < MAX_AGE_MS for record in records)
    assert {record["decision"] for record in records} == {"accepted"}
    assert [result["index"] for result in server.once()] == [record["index"] for record in records]
    written = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [record["index"] for record in written if "index" in record] == [record["index"] for record in records]
    told = [json.loads(line) for line in (events / "events.jsonl").read_text().splitlines()]
    assert [event["state"] for event in told if event["state"] == "held"] == ["held"]
    assert all(1 <= event["seconds"] < 60 for event in told)
