"""Faults of those that a run speaks with: a broker, a web server, hostile viewers, the clock."""

import contextlib
import http.client
import http.server
import importlib.util
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from kdlight_edge.selftest.bench import SETTLED, Bench, finish
from kdlight_edge.selftest.broker import Broker
from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.child import PATIENCE, infer
from kdlight_edge.selftest.outcome import Found, Skipped, Wrong
from kdlight_edge.selftest.stepped import STEP

AGE_MS = 60_000.0
"""No result of a self-test is as old as this; one measured over a clock that was stepped would be."""

SLOW_VIEWERS = 100

HANG_SECONDS = 0.5
"""For which a request hangs before its connection breaks: the runtime itself is patient for ten."""


def broker(bench: Bench) -> Found:
    """Kill the MQTT broker while results are on their way, start it again: each arrives once, in order."""
    if importlib.util.find_spec("paho") is None:
        raise Skipped("paho is not installed; pip install 'kdlight-edge[mqtt]' brings it")
    server = Broker()
    flags = ["--mqtt", f"mqtt://127.0.0.1:{server.port}", "--mqtt-device", "selftest"]
    flags += ["--mqtt-store", str(bench.folder / "store.sqlite")]
    with Camera() as camera, infer(camera.uri, bench.model, *flags) as run:
        run.wait(lambda: len(server.results) >= SETTLED, "results at the broker")
        server.stop()
        run.wait(lambda: run.said("mqtt:", "lost") is not None, "word of a lost broker")
        run.more(2 * SETTLED, "results while the broker is away")
        server.start()
        started = time.monotonic()
        run.wait(lambda: run.said("mqtt:", "is back") is not None, "word of the broker being back")
        back = time.monotonic() - started
        camera.switch("quiet")
        run.wait(lambda: len(server.once()) >= len(run.records), "every result at the broker")
        figures = finish(run, camera)
    server.stop()
    arrived = [result["index"] for result in server.once()]
    if arrived != [record["index"] for record in run.records]:
        raise Wrong(f"{len(run.records)} results were given, {len(arrived)} arrived, or not in their order")
    again = len(server.results) - len(arrived)
    return Found(
        f"{len(arrived)} results arrived in order, each once by its id ({again} sent again), back after {back:.1f} s",
        {**figures, "arrived": len(arrived), "sent_again": again, "recovery_seconds": round(back, 2)},
    )


class _Receiver(http.server.BaseHTTPRequestHandler):
    server: "_Hook"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a result, or hang for as long as the server does, and then break the connection."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.well.is_set():
            self.server.hanging.set()
            self.server.well.wait(HANG_SECONDS)
            self.close_connection = True
            return
        self.server.taken.append((self.headers["Idempotency-Key"], json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


class _Hook(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.well, self.hanging = threading.Event(), threading.Event()
        self.well.set()
        super().__init__(("127.0.0.1", 0), _Receiver)


@contextlib.contextmanager
def _hook() -> Iterator[_Hook]:
    server = _Hook()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True, name="webhook").start()
    try:
        yield server
    finally:
        server.well.set()
        server.shutdown()
        server.server_close()


def webhook(bench: Bench) -> Found:
    """Let the webhook's server hang; the camera goes on, and what waited arrives afterwards, once, in order."""
    with _hook() as server, Camera() as camera:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with infer(camera.uri, bench.model, "--webhook", url) as run:
            run.wait(lambda: len(server.taken) >= SETTLED, "results at the webhook")
            server.well.clear()
            run.wait(server.hanging.is_set, "a request that hangs")
            taken = len(server.taken)
            run.more(5 * SETTLED, "results while the webhook hangs")
            if len(server.taken) != taken:
                raise Wrong("the webhook took results while it hung")
            run.wait(lambda: run.said("webhook:", "does not answer") is not None, "word of the webhook")
            server.well.set()
            camera.switch("quiet")
            run.wait(lambda: len(server.taken) >= len(run.records), "every result at the webhook")
            run.wait(lambda: run.said("webhook:", "is back") is not None, "word of the webhook being back")
            figures = finish(run, camera)
    if [body["index"] for _, body in server.taken] != [record["index"] for record in run.records]:
        raise Wrong("results were lost, came twice or out of order")
    return Found(f"{5 * SETTLED} results and more while it hung, all {len(server.taken)} arrived in order", figures)


def clock(bench: Bench) -> Found:
    """Step the wall clock back an hour: ages stay right, nothing is lost or called stale."""
    start = ("-m", "kdlight_edge.selftest.stepped")
    flags = ("--max-age", f"{AGE_MS / 1000:g}", "--json-file", str(bench.folder / "results.jsonl"))
    with Camera() as camera, infer(camera.uri, bench.model, *flags, start=start) as run:
        run.more(SETTLED)
        before = run.records[-1]["captured"]
        run.process.send_signal(signal.SIGUSR1)
        run.wait(lambda: run.records[-1]["captured"] < before, f"a result told {-STEP:g} s earlier")
        run.more(2 * SETTLED)
        lost = run.said("lost")
        figures = finish(run, camera)
    ages = [record["age_ms"] for record in run.records]
    if not all(0 <= age < AGE_MS for age in ages):
        raise Wrong(f"ages from {min(ages):g} to {max(ages):g} ms after the clock was stepped")
    if lost or any(record["decision"] == "stale" for record in run.records):
        raise Wrong("a step of the clock was taken for a loss or for staleness")
    return Found(f"ages {min(ages):.1f} to {max(ages):.1f} ms over a step of {STEP:g} s, nothing lost", figures)


def web(bench: Bench) -> Found:
    """Ask the page for files outside, with huge headers, nonsense, and viewers that never end their request."""
    with Camera() as camera, infer(camera.uri, bench.model, "--web", "0") as run:
        run.more(SETTLED)
        port = run.port("page on")
        slow = [_viewer(port, b"GET /fig") for _ in range(SLOW_VIEWERS)]
        answers = {name: _ask(port, request) for name, request in _hostile().items()}
        expected = {"path": 404, "header": 431, "line": 414, "host": 421}
        if {name: answers[name] for name in expected} != expected:
            raise Wrong(f"hostile requests were answered {answers}, expected {expected}")
        run.more(SETTLED, "results beside hostile viewers")
        if _figures(port) != http.HTTPStatus.OK:
            raise Wrong("the page no longer answers")
        for viewer in slow:
            viewer.close()
        figures = finish(run, camera)
    return Found(
        f"{len(answers)} hostile requests refused beside {SLOW_VIEWERS} slow viewers, the page answers", figures
    )


def _hostile() -> dict[str, bytes]:
    host = b"Host: localhost\r\n"
    return {
        "path": b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
        "header": b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        "line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        "host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "nonsense": b"\xff\x00\xfe nonsense\r\n\r\n",
    }


def _viewer(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    with contextlib.suppress(OSError):
        connection.sendall(request)
    return connection


def _ask(port: int, request: bytes) -> int:
    """Return the status of the answer, 0 where the connection was closed without one."""
    with _viewer(port, request) as connection, contextlib.suppress(OSError):
        words = connection.recv(64).split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return 0


def _figures(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/figures")
        return connection.getresponse().status
    finally:
        connection.close()
