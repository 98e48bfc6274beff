"""Metrics: judged by promtool, right in their figures, and a server that bad clients cannot hold."""

import argparse
import contextlib
import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.commands import infer, outlets
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.events import Event
from kdlight_edge.frame import Moment
from kdlight_edge.sinks.exposition import Family, Sample, text_of
from kdlight_edge.sinks.metrics import Metrics
from kdlight_edge.sinks.outbox import Delivery
from kdlight_edge.sinks.queues import Queues
from kdlight_edge.sources import open_source
from kdlight_edge.stream import run
from kdlight_edge.web.server import CONNECTIONS, address_of
from tests.edge.fakes import FakeSource

ORIGIN = {"engine": "fake", "precision": "fp32", "bundle": {"name": "tiny", "version": "1", "digest": "ab" * 32}}
SCENE = "scene:crack?size=64x64&fps=100&frames=30"


class Camera(FakeSource):
    """A live source."""

    live = True
    reconnects = 3


def prediction(decision: str = "accepted", *, age: float = 0.03, at: float | None = None) -> Prediction:
    now = Moment.now()
    captured = Moment(now.utc - age, now.monotonic - age if at is None else at)
    return Prediction("cam", 0, captured, now, decision, "", "crack", 0.9, (("crack", 0.9),), 0.1, 2, {"infer": 2.0})


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(
        ("127.0.0.1", 0), Camera([]), ORIGIN, stall_timeout=60.0,
        deliveries=[lambda: Delivery("mqtt", 4, 7, {"full": 2, "disk": 1}), lambda: Delivery("webhook", 0, 0, {})],
    )  # fmt: skip
    yield made
    made.close()
    made.close()


def get(metrics: Metrics, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", metrics.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def value(page: str, name: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith(f"kdlight_{name} ")]
    return float(line.rpartition(" ")[2])


def test_the_page_counts_what_was_written(metrics: Metrics) -> None:
    for decision in ("accepted", "accepted", "abstained", "error"):
        metrics.write(prediction(decision), None)
    status, page = get(metrics, "/metrics")
    assert status == 200
    assert value(page, 'results_total{decision="accepted"}') == 2
    assert value(page, 'accepted_total{label="crack"}') == 2
    assert value(page, "abstain_total") == 1
    assert value(page, "frames_captured_total") == 12
    assert value(page, 'frames_dropped_total{reason="replaced_by_newer"}') == 8
    assert value(page, "reconnects_total") == 3
    assert value(page, "camera_up") == 1
    assert value(page, 'sink_dropped_total{sink="mqtt",reason="full"}') == 2
    assert value(page, 'sink_waiting{sink="mqtt"}') == 4
    assert value(page, "rss_bytes") > 1_000_000


def test_histograms_are_cumulative_and_a_value_on_a_bound_is_in_its_bucket(metrics: Metrics) -> None:
    for age in (0.002, 0.03, 99.0):
        metrics.write(prediction(age=age), None)
    page = metrics.page()
    assert value(page, 'frame_age_seconds_bucket{le="0.005"}') == 1
    assert value(page, 'frame_age_seconds_bucket{le="0.05"}') == 2
    assert value(page, 'frame_age_seconds_bucket{le="+Inf"}') == value(page, "frame_age_seconds_count") == 3
    assert value(page, "frame_age_seconds_sum") == pytest.approx(99.032, abs=1e-3)
    assert value(page, 'inference_seconds_bucket{le="0.001"}') == 0
    assert value(page, 'inference_seconds_bucket{le="0.0025"}') == 3


def test_events_are_counted_when_they_begin_and_stand_until_they_end(metrics: Metrics) -> None:
    now = Moment.now()
    assert "kdlight_events" not in get(metrics, "/metrics")[1]
    for state in ("held", "ended", "held"):
        metrics.tell(Event("cam", "crack", now, now, 3, 0.9, state))
    page = get(metrics, "/metrics")[1]
    assert 'kdlight_events_total{label="crack"} 2' in page
    assert 'kdlight_events_going_on{label="crack"} 1' in page


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt install prometheus")
def test_promtool_finds_nothing_wrong(metrics: Metrics) -> None:
    metrics.tell(Event("cam", "crack", Moment.now(), Moment.now(), 3, 0.9, "held"))
    metrics.write(prediction(), None)
    judged = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.page(), text=True, capture_output=True, check=False
    )
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_a_camera_that_is_silent_is_down_and_a_folder_is_well() -> None:
    for source, status in ((Camera([]), 503), (FakeSource([]), 200)):
        metrics = Metrics(("127.0.0.1", 0), source, ORIGIN, stall_timeout=5.0)
        assert get(metrics, "/healthz") == (200, "ok\n")
        metrics.write(prediction(at=Moment.now().monotonic - 100), None)
        assert get(metrics, "/healthz")[0] == status
        assert ("kdlight_camera_up 0" in metrics.page()) == source.live
        metrics.close()


def test_a_board_that_is_held_back_says_so_and_one_that_is_not_says_nothing() -> None:
    origin: dict[str, object] = {**ORIGIN, "throttled": None, "fps_limit": None}
    metrics = Metrics(("127.0.0.1", 0), Camera([]), origin, stall_timeout=5.0)
    try:
        assert "kdlight_fps_limit" not in metrics.page()
        assert "kdlight_throttled" not in metrics.page()
        origin |= {"throttled": True, "fps_limit": 19.5}
        assert "\nkdlight_throttled 1" in metrics.page()
        assert "\nkdlight_fps_limit 19.5" in metrics.page()
    finally:
        metrics.close()


def test_the_temperature_is_that_of_the_chip_and_no_placeholder_of_a_jetson_nano(tmp_path: Path) -> None:
    for number, (name, millidegrees) in enumerate(
        {"CPU-therm": 41_500, "PMIC-Die": 100_000, "iwlwifi": 62_000}.items()
    ):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{name}\n")
        (zone / "temp").write_text(f"{millidegrees}\n")
    with contextlib.closing(Metrics(("127.0.0.1", 0), Camera([]), ORIGIN, stall_timeout=5.0, root=tmp_path)) as metrics:
        assert value(metrics.page(), "soc_celsius") == 41.5


def test_other_paths_and_methods_are_refused(metrics: Metrics) -> None:
    assert get(metrics, "/../../etc/passwd")[0] == 404
    with socket.create_connection(("127.0.0.1", metrics.port), 10) as client:
        client.sendall(b"DELETE /metrics HTTP/1.1\r\n\r\n")
        assert b" 501 " in client.recv(100)
    with socket.create_connection(("127.0.0.1", metrics.port), 10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n")
        assert b" 431 " in client.recv(100)


def test_slow_clients_cannot_keep_others_out(metrics: Metrics) -> None:
    slow = [socket.create_connection(("127.0.0.1", metrics.port), 10) for _ in range(3 * CONNECTIONS)]
    for client in slow:
        with contextlib.suppress(ConnectionError):  # cut off already
            client.sendall(b"GET /met")
    assert get(metrics, "/healthz") == (200, "ok\n")
    with contextlib.suppress(ConnectionError):
        assert slow[0].recv(10) == b""
    for client in slow:
        client.close()


def test_an_address_that_is_taken_is_one_clear_error(metrics: Metrics) -> None:
    with pytest.raises(KDLightError, match=rf"cannot listen on 127.0.0.1:{metrics.port}: Address already in use"):
        Metrics(("127.0.0.1", metrics.port), Camera([]), ORIGIN, stall_timeout=5.0)


def test_a_clock_that_is_set_moves_the_start_of_the_run_with_it_and_a_small_correction_does_not(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, before = time.time, value(metrics.page(), "start_time_seconds")
    monkeypatch.setattr(time, "time", lambda: real() + 0.5)
    assert value(metrics.page(), "start_time_seconds") == before
    monkeypatch.setattr(time, "time", lambda: real() + 31_536_000)
    assert value(metrics.page(), "start_time_seconds") == pytest.approx(before + 31_536_000, abs=1)


def test_no_name_server_is_asked_before_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getfqdn", lambda name="": (asked.append(name), name)[1])  # type: ignore[func-returns-value]
    made = Metrics(("0.0.0.0", 0), Camera([]), ORIGIN, stall_timeout=5.0)  # noqa: S104 - reached by this test alone
    assert get(made, "/healthz")[0] == 200
    made.close()
    assert asked == []


def test_only_this_machine_is_listened_to_unless_told() -> None:
    assert address_of("9464", "--metrics", 9464) == ("127.0.0.1", 9464)
    assert address_of("0.0.0.0:9464", "--metrics", 9464) == ("0.0.0.0", 9464)  # noqa: S104 - what a user may ask for
    assert address_of("[::1]:80", "--metrics", 9464) == ("::1", 80)
    for wrong in ("", "host", "99999", "1.2.3.4:", "a:b"):
        with pytest.raises(UsageError, match="--metrics"):
            address_of(wrong, "--metrics", 9464)


def test_what_stands_in_a_label_cannot_break_the_page() -> None:
    text = text_of(Family("x", "gauge", "X.", [Sample("", {"a": 'q"\\\n'}, 1)]))
    assert text.splitlines()[2] == r'kdlight_x{a="q\"\\\n"} 1'


def test_infer_serves_metrics_while_it_runs(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    pages: list[str] = []

    class Scrape:
        wants_frames = False

        def __init__(self, metrics: Any) -> None:
            self.metrics = metrics

        def write(self, prediction: Prediction, frame: object) -> None:
            """Look at the page in the middle of the run."""
            del frame
            if prediction.index > 10 and not pages:
                pages.append(get(self.metrics, "/metrics")[1])

        def close(self) -> None:
            """Nothing to do."""

    parser = argparse.ArgumentParser()
    infer.add_arguments(parser)
    args = parser.parse_args(["--camera", SCENE, "--metrics", "0"])
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        source = open_source(SCENE)
        stop = threading.Event()
        (metrics,) = outlets.open_sinks(args, classifier, source, stop, Queues(stop, live=True))
        run(source, classifier, [metrics, Scrape(metrics)])
    assert value(pages[0], "frames_captured_total") > 10
    assert 'bundle="tiny"' in pages[0]
    assert "metrics on http://127.0.0.1:" in capfd.readouterr().err


def test_a_port_that_cannot_be_is_a_usage_error(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--camera", SCENE, "--model", str(tiny_bundle()), "--metrics", "http"]) == 2
    assert "--metrics http is not [HOST:]PORT" in capfd.readouterr().err
