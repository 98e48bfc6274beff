"""The outbox and the webhook: a receiver that is slow, dead, hanging or in error never holds up the writer."""

import functools
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.outbox import Outbox
from kdlight_edge.sinks.webhook import Webhook
from kdlight_edge.sources import Patience

LIMIT = 20.0
ORIGIN = {"engine": "fake"}
AT_ONCE = Patience(first_wait=0.01, longest_wait=0.01)


def prediction(index: int) -> Prediction:
    return Prediction("cam", index, Moment.now(), Moment.now(), "accepted", "", "crack", 0.9, (("crack", 0.9),), 0.1)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


class Gate:
    """A sink that delivers when it is let, and ends at once when it is closed."""

    wants_frames = False

    def __init__(self, *, open_: bool = False, fail: bool = False) -> None:
        self.got: list[int] = []
        self.fail = fail
        self.closed = 0
        self.open = threading.Event()
        if open_:
            self.open.set()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Wait for the gate."""
        del frame
        self.open.wait(LIMIT)
        if self.fail:
            raise KDLightError("the receiver is gone")
        self.got.append(prediction.index)

    def close(self) -> None:
        """Open the gate."""
        self.closed += 1
        self.open.set()


def outbox(sink: Any, **keywords: Any) -> tuple[Outbox, list[str]]:
    told: list[str] = []
    return Outbox("gate", sink, stop=keywords.pop("stop", threading.Event()), report=told.append, **keywords), told


def test_everything_is_delivered_in_order_before_the_end() -> None:
    gate = Gate(open_=True)
    box, told = outbox(gate)
    for index in range(500):
        box.write(prediction(index), None)
    box.close()
    box.close()
    assert gate.got == list(range(500))
    assert gate.closed == 1
    assert box.delivery().delivered == 500
    assert told == []


def test_a_dead_sink_never_holds_up_the_writer_and_the_oldest_are_dropped_with_the_reason() -> None:
    gate = Gate()
    box, told = outbox(gate, room=10)
    for index in range(100):
        box.write(prediction(index), None)
    found = box.delivery()
    assert found.delivered == 0
    assert found.dropped["full"] + found.waiting == 100
    gate.open.set()
    box.close()
    assert gate.got[-10:] == list(range(90, 100))
    assert told == [f"gate: {100 - len(gate.got)} of 100 results were not delivered ({100 - len(gate.got)} full)"]


def test_a_folder_waits_for_room_while_the_sink_moves() -> None:
    gate = Gate()
    box, told = outbox(gate, room=5, wait=True)

    def write() -> None:
        for index in range(50):
            box.write(prediction(index), None)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: box.delivery().waiting >= 5)
    gate.open.set()
    writer.join(LIMIT)
    box.close()
    assert gate.got == list(range(50))
    assert told == []


def test_a_folder_does_not_wait_for_ever_for_a_dead_sink() -> None:
    gate = Gate()
    box, _ = outbox(gate, room=5, wait=True, patience=0.05)
    for index in range(50):
        box.write(prediction(index), None)
    box.close()
    found = box.delivery()
    assert found.dropped["full"] >= 40
    assert found.dropped["closing"] >= 5


def test_what_is_left_when_a_signal_ended_the_run_is_counted_as_closing() -> None:
    gate, stop = Gate(), threading.Event()
    stop.set()
    box, told = outbox(gate, stop=stop)
    for index in range(7):
        box.write(prediction(index), None)
    box.close()
    assert box.delivery().dropped["closing"] >= 6
    assert "closing" in told[-1]


def test_a_sink_that_fails_is_told_once_and_counted() -> None:
    box, told = outbox(Gate(open_=True, fail=True))
    for index in range(5):
        box.write(prediction(index), None)
    box.close()
    assert told == ["gate: the receiver is gone", "gate: 5 of 5 results were not delivered (5 failed)"]


def test_a_fault_of_the_sink_itself_reaches_the_writer() -> None:
    class Broken(Gate):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            del prediction, frame
            raise ZeroDivisionError

    box, _ = outbox(Broken())
    box.write(prediction(0), None)
    with pytest.raises(ZeroDivisionError):
        box.close()
    with pytest.raises(ZeroDivisionError):
        box.write(prediction(1), None)


class Receiver(http.server.ThreadingHTTPServer):
    """A web server that answers as it is told: a status, or "hang", or "cut"."""

    daemon_threads = True

    def __init__(self) -> None:
        self.behaviour: Callable[[int], int | str] = lambda _: 200
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.asked = 0
        self.release = threading.Event()
        super().__init__(("127.0.0.1", 0), _Post)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?site=7"

    def indices(self) -> list[int]:
        """Return what was accepted."""
        return [content["index"] for _, content in self.requests]


class _Post(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        self.server.asked += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.behaviour(self.server.asked)
        if status == "hang":
            self.server.release.wait(LIMIT)
            status = "cut"
        if status == "cut":
            self.close_connection = True
            return
        if status == "last":  # as a server does with a connection that was idle for long, without saying so
            self.close_connection = True
            status = 200
        if status == 200:
            self.server.requests.append((dict(self.headers), json.loads(body)))
        self.send_response(int(status))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def hook(receiver: Receiver, told: list[str], **keywords: Any) -> Webhook:
    return Webhook(receiver.url, ORIGIN, patience=AT_ONCE, report=told.append, **keywords)


def test_each_result_is_posted_as_json_with_a_key_of_its_own(receiver: Receiver) -> None:
    told: list[str] = []
    box = Outbox("webhook", hook(receiver, told), stop=threading.Event(), report=told.append)
    for index in range(20):
        box.write(prediction(index), None)
    box.close()
    assert receiver.indices() == list(range(20))
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.requests}) == 20
    assert receiver.requests[0][0]["Content-Type"] == "application/json"
    assert receiver.requests[0][1]["engine"] == "fake"
    assert told == []


def test_an_event_is_posted_between_the_results_and_tried_again_like_one(receiver: Receiver) -> None:
    told: list[str] = []
    answers: dict[int, int | str] = {2: 503}
    receiver.behaviour = lambda asked: answers.get(asked, 200)
    box = Outbox("webhook", hook(receiver, told), stop=threading.Event(), report=told.append)
    box.write(prediction(0), None)
    box.tell(Event("cam", "crack", Moment.now(), Moment.now(), 7, 0.9, "held"))
    box.write(prediction(1), None)
    box.close()
    kinds = [content["schema"].split("/")[1] for _, content in receiver.requests]
    assert kinds == ["prediction", "event", "prediction"]
    assert (receiver.requests[1][1]["state"], receiver.requests[1][1]["engine"]) == ("held", "fake")
    assert box.delivery().delivered == 3


def test_a_sink_that_does_not_listen_is_told_of_no_event() -> None:
    seen: list[int] = []

    class Deaf:
        wants_frames = False

        def write(self, found: Prediction, frame: Frame | None) -> None:
            del frame
            seen.append(found.index)

        def close(self) -> None:
            """Nothing is open."""

    box, _ = outbox(Deaf())
    box.tell(Event("cam", "crack", Moment.now(), Moment.now(), 7, 0.9, "held"))
    box.write(prediction(1), None)
    box.close()
    assert (seen, box.delivery().delivered) == ([1], 1)


def test_errors_and_cut_connections_are_tried_again_until_it_works(receiver: Receiver) -> None:
    told: list[str] = []
    answers: dict[int, int | str] = {1: 500, 2: "cut", 3: 429}
    receiver.behaviour = lambda asked: answers.get(asked, 200)
    webhook = hook(receiver, told)
    webhook.write(prediction(0), None)
    webhook.write(prediction(1), None)
    webhook.close()
    assert receiver.indices() == [0, 1]
    assert [line.rpartition("hook?site=7")[2] for line in told] == [
        " answers 500 Internal Server Error; trying again, results wait", " is back",
    ]  # fmt: skip


def test_a_connection_that_the_server_has_closed_meanwhile_is_no_trouble(receiver: Receiver) -> None:
    told: list[str] = []
    receiver.behaviour = lambda _: "last"
    webhook = hook(receiver, told)
    for index in range(4):
        webhook.write(prediction(index), None)
    webhook.close()
    assert receiver.indices() == [0, 1, 2, 3]
    assert told == []


def test_a_server_that_hangs_is_given_up_and_asked_again(receiver: Receiver) -> None:
    told: list[str] = []
    receiver.behaviour = lambda asked: "hang" if asked == 1 else 200
    webhook = hook(receiver, told, timeout=0.2)
    webhook.write(prediction(0), None)
    webhook.close()
    assert receiver.indices() == [0]
    assert "does not answer: timed out" in told[0]


def test_a_refusal_is_final_and_the_next_result_is_tried(receiver: Receiver) -> None:
    told: list[str] = []
    receiver.behaviour = lambda asked: {1: 404, 2: 301}.get(asked, 200)
    box = Outbox("webhook", hook(receiver, told), stop=threading.Event(), report=told.append)
    for index in range(3):
        box.write(prediction(index), None)
    box.close()
    assert receiver.indices() == [2]
    assert box.delivery().dropped["refused"] == 2
    assert "answers 404 Not Found" in told[0]


def test_a_server_that_always_fails_is_given_up_after_some_attempts(receiver: Receiver) -> None:
    told: list[str] = []
    receiver.behaviour = lambda _: 503
    box = Outbox("webhook", hook(receiver, told), stop=threading.Event(), report=told.append)
    box.write(prediction(0), None)
    box.close()
    assert receiver.asked == 8
    assert box.delivery().dropped["failed"] == 1


def test_a_delivery_that_hangs_ends_when_the_run_ends(receiver: Receiver) -> None:
    told: list[str] = []
    stop = threading.Event()
    receiver.behaviour = lambda _: "hang"
    box = Outbox("webhook", hook(receiver, told, timeout=LIMIT), stop=stop, report=told.append)
    box.write(prediction(0), None)
    box.write(prediction(1), None)
    until(lambda: receiver.asked == 1)
    stop.set()
    box.close()
    assert "2 of 2 results were not delivered (2 closing)" in told[-1]


def test_a_token_and_a_password_are_sent_and_never_shown(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    receiver.behaviour = lambda asked: 500 if asked == 1 else 200
    webhook = Webhook(receiver.url.replace("//", "//me:hidden@"), {}, patience=AT_ONCE, report=told.append)
    webhook.write(prediction(0), None)
    webhook.close()
    assert receiver.requests[0][0]["Authorization"] == "Basic bWU6aGlkZGVu"
    assert "hidden" not in " ".join(told)
    monkeypatch.setenv("KDLIGHT_WEBHOOK_TOKEN", "abc\n")
    webhook = hook(receiver, told)
    webhook.write(prediction(1), None)
    webhook.close()
    assert receiver.requests[1][0]["Authorization"] == "Bearer abc"


@pytest.mark.parametrize("token", ["köln€", "a\nb", "\udcff"])
def test_a_token_that_no_header_can_hold_is_refused_before_the_first_result(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLIGHT_WEBHOOK_TOKEN", token)
    with pytest.raises(UsageError, match="KDLIGHT_WEBHOOK_TOKEN cannot be sent") as refused:
        Webhook("http://site/", {})
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["host/path", "ftp://host/", "http://", "http://h:99999/", "http://h/a b", "http://h/ü", "http://a..b/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--webhook"):
        Webhook(url, {})


def test_infer_posts_a_camera_and_a_folder(
    receiver: Receiver, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    camera = ["infer", "--camera", "scene:crack?size=64x64&fps=100&frames=20", "--model", str(tiny_bundle()), "--json"]
    assert main([*camera, "--webhook", receiver.url]) == 0
    assert receiver.indices() == [json.loads(line)["index"] for line in capfd.readouterr().out.splitlines()]


@pytest.mark.parametrize("status", [400, 500, "nobody"])
def test_a_folder_whose_results_were_not_delivered_has_failed_and_a_camera_has_not(
    status: int | str, receiver: Receiver, tiny_bundle: Callable[..., Path], tmp_path: Path,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("kdlight_edge.sinks.outbox.Outbox", functools.partial(Outbox, patience=0.2))
    receiver.behaviour = lambda _: int(status)
    url = "http://127.0.0.1:1/" if status == "nobody" else receiver.url
    (tmp_path / "in").mkdir()
    picture = cv2.imencode(".png", np.full((20, 20, 3), (0, 0, 220), np.uint8))[1].tobytes()
    for name in "ab":
        (tmp_path / f"in/{name}.png").write_bytes(picture)
    run = ["infer", "--model", str(tiny_bundle()), "--webhook", url]
    assert main([*run, "--folder", str(tmp_path / "in")]) == 1
    assert "webhook: 2 of 2 results were not delivered" in capfd.readouterr().err
    assert main([*run, "--camera", "scene:crack?size=64x64&fps=100&frames=2"]) == 0
    assert "results were not delivered" in capfd.readouterr().err
