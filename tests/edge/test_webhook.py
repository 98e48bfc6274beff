"""The webhook: a receiver that is slow, dead, hanging or in error, and what it is sent."""

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import UsageError
from kdlight_edge.events import Event
from kdlight_edge.frame import Moment
from kdlight_edge.sinks.outbox import Outbox
from kdlight_edge.sinks.webhook import Webhook
from kdlight_edge.sources import Patience
from tests.edge.fakes import prediction
from tests.waiting import LIMIT, until

ORIGIN = {"engine": "fake"}
AT_ONCE = Patience(first_wait=0.01, longest_wait=0.01)


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


def test_errors_and_cut_connections_are_tried_again_until_it_works(receiver: Receiver) -> None:
    told: list[str] = []
    answers: dict[int, int | str] = {1: 500, 2: "cut", 3: 429}
    receiver.behaviour = lambda asked: answers.get(asked, 200)
    webhook = hook(receiver, told)
    webhook.write(prediction(0), None)
    webhook.write(prediction(1), None)
    webhook.close()
    assert receiver.indices() == [0, 1]
    assert [line.partition(receiver.url.removesuffix("/hook?site=7"))[2] for line in told] == [
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
    assert "/hook" not in " ".join(told)  # of a chat the path is the secret
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
