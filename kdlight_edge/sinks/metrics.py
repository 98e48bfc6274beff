"""Figures of the run for Prometheus, on a small web server: ``/metrics``, and ``/healthz`` for a supervisor."""

import http.server
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kdlight_devices.heat import chip_celsius, temperatures
from kdlight_devices.kernel import sized
from kdlight_edge import __version__
from kdlight_edge.began import Began
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame
from kdlight_edge.meter import rss_bytes
from kdlight_edge.sinks.exposition import Family, Histogram, Sample, by, one, text_of
from kdlight_edge.sinks.outbox import Delivery
from kdlight_edge.sources import Source
from kdlight_edge.sources.several import Several
from kdlight_edge.web.server import SEND_SECONDS, Server

INFERENCE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the histogram of inference times, seconds."""

AGE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram of ages, seconds."""


class Metrics:
    """Counts predictions and answers questions about them.

    A camera is up while its newest frame is younger than the stall timeout; `/healthz` says 200 while it is, and 503
    with the reason while it is not. A folder is always well.
    """

    wants_frames = False

    def __init__(
        self,
        address: tuple[str, int],
        source: Source,
        origin: Mapping[str, Any],
        *,
        stall_timeout: float,
        deliveries: Sequence[Callable[[], Delivery]] = (),
        root: Path = Path("/"),
    ) -> None:
        """Begin to listen.

        Args:
            address: host and port; port 0 takes a free one, see `port`.
            source: asked how often it was opened again.
            origin: of `Classifier.origin`.
            stall_timeout: seconds after which a silent camera counts as lost.
            deliveries: how the sinks with queues stand.
            root: where ``proc`` and ``sys`` are.

        Raises:
            KDLightError: the address cannot be listened on.
        """
        self._source, self._origin, self._root = source, origin, root
        self._stall_timeout, self._deliveries = stall_timeout, deliveries
        self._began = Began()
        now = time.monotonic()  # a camera has as long for its first frame as for any other
        cameras = source.cameras if isinstance(source, Several) else ()
        self._newest = {camera.name: now for camera in cameras} or {"": now}
        """Monotonic time of the newest frame of each camera; of a single source under no name."""
        self._decisions: Counter[str] = Counter({"accepted": 0, "abstained": 0, "outlier": 0, "stale": 0, "error": 0})
        self._labels: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._going_on: Counter[str] = Counter()
        self._replaced = 0
        self._inference, self._age = Histogram(INFERENCE), Histogram(AGE)
        try:
            self._server = _Server(address, self)
        except OSError as error:
            said = f"{address[0]}:{address[1]}: {error.strerror or error}"
            raise KDLightError(f"metrics cannot listen on {said}; choose another --metrics [HOST:]PORT") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Count one prediction."""
        del frame
        self._decisions[prediction.decision] += 1
        self._replaced += prediction.dropped
        self._newest[prediction.source if prediction.source in self._newest else ""] = prediction.captured.monotonic
        if prediction.decision == "accepted" and prediction.label is not None:
            self._labels[prediction.label] += 1
        if prediction.label is not None:
            self._age.add(prediction.age)
        if prediction.milliseconds and "infer" in prediction.milliseconds:
            self._inference.add(prediction.milliseconds["infer"] / 1000)

    def tell(self, event: Event) -> None:
        """Count one event."""
        self._going_on[event.label] += 1 if event.state == "held" else -1
        self._events[event.label] += event.state == "held"

    def close(self) -> None:
        """End the server; safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def health(self) -> str:
        """Return why the run is not well; empty when it is."""
        if not self._source.live:
            return ""
        silent = {name: time.monotonic() - newest for name, newest in self._newest.items()}
        late = {name: seconds for name, seconds in silent.items() if seconds > self._stall_timeout}
        return "; ".join(f"no frame{f' of {name}' if name else ''} for {late[name]:.1f} s" for name in late)

    def page(self) -> str:
        """Return everything in Prometheus' text format, version 0.0.4."""
        return "".join(map(text_of, [*self._of_frames(), *self._of_sinks(), *self._of_machine()]))

    def _of_frames(self) -> Iterator[Family]:
        decisions = dict(self._decisions)
        yield one(
            "frames_captured_total", "counter", "Frames that the source gave.", sum(decisions.values()) + self._replaced
        )
        yield by("frames_dropped_total", "counter", "Frames that were not looked at.", "reason", {
            "replaced_by_newer": self._replaced,
        })  # fmt: skip
        yield by("results_total", "counter", "Results by decision.", "decision", decisions)
        yield one("abstain_total", "counter", "Results that abstained.", decisions["abstained"])
        yield by("accepted_total", "counter", "Accepted results by label.", "label", dict(self._labels))
        if self._events:
            yield by("events_total", "counter", "Events that began, by label.", "label", dict(self._events))
            yield by("events_going_on", "gauge", "Events that go on, by label.", "label", dict(self._going_on))
        yield Family("inference_seconds", "histogram", "Time of the network.", self._inference.samples())
        yield Family("frame_age_seconds", "histogram", "Time from capture to decision.", self._age.samples())
        if self._source.live:
            yield from self._of_cameras()

    def _of_cameras(self) -> Iterator[Family]:
        """Tell one camera without a label, several by ``source``."""
        cameras = self._source.cameras if isinstance(self._source, Several) else (self._source,)
        labels = [{"source": camera.name} if isinstance(self._source, Several) else {} for camera in cameras]  # type: ignore[attr-defined]
        now = time.monotonic()
        up = [now - self._newest[found.get("source", "")] <= self._stall_timeout for found in labels]
        families = (
            ("camera_up", "gauge", "Whether a frame came within the stall timeout.", up),
            ("reconnects_total", "counter", "How often the camera was lost and came back.",
             [getattr(camera, "reconnects", 0) for camera in cameras]),
            ("frames_repeated_total", "counter", "Frames left out because the camera sent the same picture again.",
             [getattr(camera, "repeated", 0) for camera in cameras]),
        )  # fmt: skip
        for name, kind, text, values in families:
            yield Family(name, kind, text, [Sample("", *row) for row in zip(labels, values, strict=True)])

    def _of_sinks(self) -> Iterator[Family]:
        found = [delivery() for delivery in self._deliveries]
        if not found:
            return
        waiting = {entry.sink: entry.waiting for entry in found}
        yield by("sink_waiting", "gauge", "Results that wait to be delivered.", "sink", waiting)
        delivered = {entry.sink: entry.delivered for entry in found}
        yield by("sink_delivered_total", "counter", "Results that were delivered.", "sink", delivered)
        dropped = [
            Sample("", {"sink": entry.sink, "reason": reason}, count)
            for entry in found
            for reason, count in (entry.dropped or {"full": 0}).items()
        ]
        yield Family("sink_dropped_total", "counter", "Results that will not be delivered.", dropped)

    def _of_machine(self) -> Iterator[Family]:
        bundle = self._origin.get("bundle", {})
        about = {"version": __version__, "engine": self._origin.get("engine"), "bundle": bundle.get("name")}
        about |= {"digest": str(bundle.get("digest"))[:16], "precision": self._origin.get("precision")}
        labels = {name: str(value) for name, value in about.items()}
        yield Family("build_info", "gauge", "What answers; always 1.", [Sample("", labels, 1)])
        yield one("start_time_seconds", "gauge", "When the run began, seconds since 1970.", self._began.utc())
        yield one("rss_bytes", "gauge", "Memory of the process.", rss_bytes())
        for name, text in (
            ("throttled", "Whether the board is slowed down."),
            ("fps_limit", "Frames a second that the governor or --max-fps allows; absent without a limit."),
        ):
            if self._origin.get(name) is not None:
                yield one(name, "gauge", text, float(self._origin[name]))
        written = sized(self._root / "proc/self/io", "write_bytes")
        if written is not None:
            yield one("disk_written_bytes_total", "counter", "Bytes the process had written to disks.", written)
        heat = chip_celsius(temperatures(self._root))
        if heat is not None:
            yield one("soc_celsius", "gauge", "Hottest thermal zone of the chip.", heat)


class _Answer(http.server.BaseHTTPRequestHandler):
    server: "_Server"
    server_version = "kdlight-edge"
    sys_version = ""
    timeout = SEND_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._say(HTTPStatus.OK, self.server.metrics.page(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/healthz":
            trouble = self.server.metrics.health()
            status = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
            self._say(status, f"{trouble or 'ok'}\n", "text/plain; charset=utf-8")
        else:
            self._say(HTTPStatus.NOT_FOUND, "there are /metrics and /healthz\n", "text/plain; charset=utf-8")

    def _say(self, status: HTTPStatus, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: a line for every scrape would fill the journal."""


class _Server(Server):
    def __init__(self, address: tuple[str, int], metrics: Metrics) -> None:
        self.metrics = metrics
        super().__init__(address, _Answer)
