"""A page in the browser: live picture, answer, heat map and figures for whoever looks, free while nobody does."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kdlight_devices.heat import chip_celsius, temperatures
from kdlight_edge import __version__
from kdlight_edge.began import Began
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame
from kdlight_edge.meter import rss_bytes
from kdlight_edge.plain import place_of
from kdlight_edge.sinks.outbox import Delivery
from kdlight_edge.sources import Source
from kdlight_edge.web.answers import PageServer
from kdlight_edge.web.door import Door
from kdlight_edge.web.panel import Panel
from kdlight_edge.web.view import View

PANELS = 8
"""Cameras shown side by side; what comes from more is shown as one."""

PICTURES = "pictures"
"""Name of the panel of files, each of which is a source of its own."""

LOOKING = 3.0
"""Seconds after the last request for a picture for which frames are kept."""


class Web:
    """Keeps the newest result of each camera and answers browsers from threads of its own.

    `write` hands over references and never waits for a viewer. Pictures are made when one is asked for.
    """

    wants_frames = True

    def __init__(
        self,
        door: Door,
        classifier: Classifier,
        source: Source,
        *,
        stall_timeout: float,
        deliveries: Sequence[Callable[[], Delivery]] = (),
    ) -> None:
        """Begin to listen.

        Args:
            door: where, and who may come; port 0 takes a free one, see `port`.
            classifier: for the heat map, and for what answers.
            source: asked how often it was opened again.
            stall_timeout: seconds after which a silent camera counts as lost.
            deliveries: how the sinks with queues stand.

        Raises:
            KDLightError: the address cannot be listened on.
        """
        self.closed = threading.Event()
        self._classifier, self._source = classifier, source
        self._stall_timeout, self._deliveries = stall_timeout, deliveries
        self._panels: dict[str, Panel] = {}
        self._views: list[View] = []
        self._began, self._looked = Began(), 0.0
        self._celsius: tuple[float, float | None] = (0.0, None)
        self.door = door
        try:
            self._server = PageServer(self)
        except OSError as error:
            said = f"{place_of(door.host, door.port)}: {error.strerror or error}"
            raise KDLightError(f"the page cannot listen on {said}; choose another --web [HOST:]PORT") from error
        self.port: int = self._server.server_port
        self.door = Door(door.host, self.port, door.token)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.5,), name="web", daemon=True)
        self._thread.start()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take one result, and the reference to its picture while somebody looks."""
        name = self._name(prediction, frame)
        panel = self._panels.get(name)
        if panel is None:
            panel = Panel(name)
            self._views.append(View(self._classifier, panel))
            self._panels[name] = panel
        looked_at = frame is not None and time.monotonic() - self._looked < LOOKING
        panel.write(prediction, frame if looked_at else None)

    def tell(self, event: Event) -> None:
        """List an event on the panel of its camera."""
        panel = self._panels.get(event.source) or self._panels.get(PICTURES)
        if panel is not None:
            panel.tell(event)

    def _name(self, prediction: Prediction, frame: Frame | None) -> str:
        """Return the panel that a result belongs to."""
        if prediction.source in self._panels:
            return prediction.source
        # A folder's pictures, scans, and what cannot be read of them are thousands of sources.
        own_file = frame is not None and ("below" in frame.meta or "scan" in frame.meta)
        if own_file or PICTURES in self._panels or len(self._panels) >= PANELS or not self._source.live:
            return PICTURES
        return prediction.source

    def look(self) -> None:
        """Note that somebody looks."""
        self._looked = time.monotonic()

    def view(self, number: int) -> View | None:
        """Return the pictures of a panel."""
        return self._views[number] if number < len(self._views) else None

    def figures(self, seen: dict[int, int] | None = None) -> dict[str, Any]:
        """Return everything but pictures as plain JSON types.

        ``seen``, by panel the last point of the history that the reader has, is brought up to date.
        """
        seen = {} if seen is None else seen
        panels = []
        for number, panel in enumerate(list(self._panels.values())):
            points = panel.history(seen.get(number, 0))
            if points:
                seen[number] = points[-1][0]
            panels.append({**panel.figures(), "points": points})
        origin = self._classifier.origin
        labels = self._classifier.bundle.manifest.labels
        return {
            "version": __version__,
            "now": round(time.time(), 1),
            "began": round(self._began.utc()),
            **origin,
            "labels": [{"id": label.id, "text": label.text, "positive": label.positive} for label in labels],
            "live": self._source.live,
            "stall_timeout": self._stall_timeout,
            "reconnects": getattr(self._source, "reconnects", 0),
            "celsius": self._heat(),
            "rss": rss_bytes(),
            "sinks": [_delivery(delivery()) for delivery in self._deliveries],
            "panels": panels,
        }

    def _heat(self) -> float | None:
        """Look at the board every two seconds, however many ask."""
        now = time.monotonic()
        if now - self._celsius[0] > 2:  # noqa: PLR2004 - seconds
            self._celsius = (now, chip_celsius(temperatures()))
        return self._celsius[1]

    def close(self) -> None:
        """End the server; safe to call twice."""
        self.closed.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.cut_all()
        self._server.server_close()


def _delivery(found: Delivery) -> dict[str, Any]:
    return {
        "sink": found.sink, "waiting": found.waiting, "delivered": found.delivered, "dropped": dict(found.dropped),
    }  # fmt: skip
