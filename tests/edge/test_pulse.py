"""The pulse of a run, heard on a real socket: alive only by progress, and how the board is."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_devices.heat import FIRMWARE_FILE
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import failed, to_record
from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Moment, Unreadable
from kdlight_edge.notify import Notifier
from kdlight_edge.pulse import Pulse
from kdlight_edge.sources import Patience, Source, open_source
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.sources.reconnect import keep_reading
from kdlight_edge.sources.watch import Watch
from kdlight_edge.stream import run
from tests.edge.fakes import FakeEngine, FakeSource
from tests.edge.notified import LIMIT, Manager

LOOK = 0.02
QUICK = Patience(stall_timeout=0.02, first_wait=0.02, longest_wait=0.02, at_start=True)


def black() -> npt.NDArray[np.uint8]:
    return np.zeros((8, 8, 3), np.uint8)


def serve(pulse: Pulse, source: Source, classifier: Classifier) -> tuple[threading.Thread, threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: run(source, classifier, pulse.sinks, stop=stop))
    thread.start()
    return thread, stop


def hears_no_feeding(manager: Manager) -> None:
    """Listen for twelve looks, each of which would have found the watchdog due."""
    statuses = 0
    while statuses < 12:
        lines = manager.receive()
        assert "WATCHDOG=1" not in lines
        statuses += any(line.startswith("STATUS=") for line in lines)


def test_a_camera_that_hangs_starves_the_watchdog(manager: Manager, classifier: Classifier) -> None:
    hung = threading.Event()

    def capture(slot: Slot) -> None:
        slot.put(black(), Moment.now())
        hung.set()
        slot.closed.wait(LIMIT)

    source = Latest("cam", capture)
    with Pulse(classifier, source, Notifier(manager.address, 0.02), every=LOOK) as pulse:
        thread, stop = serve(pulse, source, classifier)
        assert hung.wait(LIMIT)
        manager.receive_until("WATCHDOG=1")
        hears_no_feeding(manager)
        stop.set()
        thread.join(LIMIT)


def test_a_sink_that_hangs_starves_the_watchdog_even_when_the_camera_is_lost(
    manager: Manager, classifier: Classifier
) -> None:
    entered, let_go = threading.Event(), threading.Event()

    class Hanging:
        wants_frames = False

        def write(self, *_: object) -> None:
            entered.set()
            let_go.wait(LIMIT)

        def close(self) -> None:
            pass

    frames = [black()]

    class Once:
        def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
            if not frames:
                raise SourceError("cable pulled")
            return frames.pop(), Moment.now()

        def close(self) -> None:
            pass

    source = keep_reading("cam", Once, QUICK, lambda _: None)
    with Pulse(classifier, source, Notifier(manager.address, 0.02), QUICK, every=LOOK) as pulse:
        thread = threading.Thread(target=lambda: run(source, classifier, [Hanging(), *pulse.sinks], limit=1))
        thread.start()
        assert entered.wait(LIMIT)
        hears_no_feeding(manager)
        let_go.set()
        thread.join(LIMIT)


def test_an_attempt_to_open_the_camera_that_hangs_starves_the_watchdog(
    manager: Manager, classifier: Classifier
) -> None:
    let_go, attempts = threading.Event(), []

    def connect() -> FakeFeed:
        attempts.append(1)
        if len(attempts) > 3:
            let_go.wait(LIMIT)
        raise SourceError("off")

    source = keep_reading("cam", connect, QUICK, lambda _: None)
    with Pulse(classifier, source, Notifier(manager.address, 0.02), QUICK, every=LOOK) as pulse:
        thread, stop = serve(pulse, source, classifier)
        heard = manager.receive_until("STATUS=the attempt to open the camera hangs")
        assert "WATCHDOG=1" in heard
        hears_no_feeding(manager)
        let_go.set()
        stop.set()
        thread.join(LIMIT)


@pytest.mark.parametrize("uri", ["watch:{}?poll=5", "dicom://127.0.0.1:0"])
def test_a_source_that_has_nothing_to_give_feeds_the_watchdog(
    uri: str, manager: Manager, classifier: Classifier, tmp_path: Path
) -> None:
    if uri.startswith("dicom"):
        pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
    source = open_source(uri.format(tmp_path), QUICK, lambda _: None)
    with Pulse(classifier, source, Notifier(manager.address, 0.02), every=LOOK) as pulse:
        thread, stop = serve(pulse, source, classifier)
        heard = manager.receive_until("STATUS=nothing comes; the engine answers the golden pictures")
        assert "WATCHDOG=1" in heard
        assert "WATCHDOG=1" in manager.receive_until("WATCHDOG=1")
        stop.set()
        thread.join(LIMIT)


def test_a_look_into_a_watched_folder_that_hangs_starves_the_watchdog(
    manager: Manager, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, looks, look = threading.Event(), [], Watch._list

    def hang(watch: Watch) -> Any:
        looks.append(1)
        if len(looks) > 20:
            let_go.wait(LIMIT)
        return look(watch)

    monkeypatch.setattr(Watch, "_list", hang)
    source = open_source(f"watch:{tmp_path}?poll=0.01", QUICK, lambda _: None)
    with Pulse(classifier, source, Notifier(manager.address, 0.02), QUICK, every=LOOK) as pulse:
        thread, stop = serve(pulse, source, classifier)
        assert "WATCHDOG=1" in manager.receive_until("STATUS=the source hangs")
        hears_no_feeding(manager)
        let_go.set()
        stop.set()
        thread.join(LIMIT)


class FakeFeed:
    """A connection that is never made."""

    def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
        """Give nothing."""
        raise SourceError("off")

    def close(self) -> None:
        """Nothing to close."""


def test_an_engine_that_answers_wrongly_while_no_camera_is_there_starves_the_watchdog(
    manager: Manager, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    def connect() -> FakeFeed:
        raise SourceError("off")

    source = keep_reading("cam", connect, QUICK, lambda _: None)
    engine = FakeEngine(2)
    bundle = open_bundle(tiny_bundle())
    engine.artifact = dataclasses.replace(engine.artifact, file="model.onnx")
    wrong = Classifier(bundle, engine, open_classifier(bundle.path).settings)
    with Pulse(wrong, source, Notifier(manager.address, 0.02), QUICK, every=LOOK) as pulse:
        thread, stop = serve(pulse, source, wrong)
        heard = manager.receive_until("STATUS=no camera, and the engine answers the golden pictures wrongly")
        assert "WATCHDOG=1" not in heard
        hears_no_feeding(manager)
        stop.set()
        thread.join(LIMIT)
    assert "answers the golden pictures of model.onnx with logits off by" in capfd.readouterr().err


def test_a_frame_that_could_not_be_decoded_is_no_progress(manager: Manager, classifier: Classifier) -> None:
    with Pulse(classifier, FakeSource([]), Notifier(manager.address, 0.02), every=LOOK) as pulse:
        for index in range(5):
            pulse.write(failed(Unreadable("torn", Moment.now(), "cam", index)), None)
        hears_no_feeding(manager)


def test_throttled_in_the_results_follows_the_board(tmp_path: Path, classifier: Classifier) -> None:
    firmware = tmp_path / "board" / FIRMWARE_FILE
    firmware.parent.mkdir(parents=True)
    firmware.write_text("0\n")
    bad = failed(Unreadable("torn", Moment.now(), "cam", 0))

    def stamped(*, throttled: bool) -> bool:
        until = time.monotonic() + LIMIT
        while to_record(bad, classifier.origin)["throttled"] is not throttled and time.monotonic() < until:
            time.sleep(LOOK)
        return json.loads(json.dumps(to_record(bad, classifier.origin)))["throttled"] is throttled

    with Pulse(classifier, FakeSource([]), root=tmp_path / "board", every=LOOK) as pulse:
        assert pulse.sinks == []
        assert classifier.origin["throttled"] is False
        firmware.write_text("50005\n")
        assert stamped(throttled=True)
        firmware.write_text("50000\n")
        assert stamped(throttled=False)


def test_where_nothing_tells_and_nobody_listens_there_is_no_thread(tmp_path: Path, classifier: Classifier) -> None:
    before = threading.active_count()
    with Pulse(classifier, FakeSource([]), root=tmp_path / "nothing"):
        assert threading.active_count() == before
        assert classifier.origin["throttled"] is None


def test_the_status_line_tells_heat_and_throttling(tmp_path: Path, manager: Manager, classifier: Classifier) -> None:
    board = tmp_path / "board"
    for name, text in {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "81300",
        FIRMWARE_FILE: "8",
    }.items():
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_text(text)
    with Pulse(classifier, FakeSource([]), Notifier(manager.address), root=board, every=LOOK):
        manager.receive()
        assert manager.receive() == ["STATUS=waiting for the first frame, 81 °C, throttled"]
