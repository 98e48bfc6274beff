"""What a board tells a fleet beside its results: figures every ten seconds, and answers to what it may be asked."""

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdlight_devices.telemetry import look
from kdlight_edge import __version__
from kdlight_edge.decide import Prediction, rounded, utc
from kdlight_edge.frame import Moment
from kdlight_edge.manifest import Artifact
from kdlight_edge.meter import percentile_of
from kdlight_edge.sinks.outbox import Delivery
from kdlight_edge.sources import tell

STATS = "kdlight-edge/stats/1"
COMMAND = "kdlight-edge/command/1"
ANSWER = "kdlight-edge/answer/1"

EVERY = 10.0
"""Seconds between two messages of figures: a message a board in that time is what a fleet costs its broker."""

SPAN = 1000
"""Latest results that rates and ages are taken from: enough for a p99 (662, MLPerf's rule)."""

ASKED = 8
"""Questions that wait at most; one that finds no room is dropped, so that nobody can fill the memory."""

LONGEST = 4096
"""Bytes of a question at most; a real one has about a hundred, and a broker passes on up to 256 MB."""

USUAL_OUTLIERS = 0.01
"""Share of validation pictures above the outlier threshold by the way it is fitted, for a bundle that does not say."""

UPDATE_FILE = "update/asked"
"""In the service's state folder; the unit kdlight-edge-update.path waits for it."""


class Message(NamedTuple):
    """One message that is due: the last level of its topic, its text, and whether the broker keeps it."""

    last: str
    text: str
    retain: bool


class Desk:
    """Counts results (the run's thread), notes questions (paho's) and gives what is due (the sink's own)."""

    def __init__(
        self,
        device: str,
        origin: Mapping[str, Any],
        artifact: Artifact | None = None,
        *,
        own_conf: bool = False,
        update: bool = False,
        report: Callable[[str], None] = tell,
    ) -> None:
        """Begin.

        Args:
            device: the name under which this board speaks.
            origin: of `Classifier.origin`; read anew for every message.
            artifact: whose thresholds say what is usual; None where nothing is.
            own_conf: whether somebody set another acceptance threshold than the artifact's (``--conf``).
            update: whether ``update`` may be asked for (``--mqtt-update``).
            report: takes a line for people where somebody asks this board for something.
        """
        self._device, self._origin, self._update = device, origin, update
        self._usual = _usual(artifact, own_conf=own_conf)
        self._report = report
        self._asked: deque[bytes | bytearray] = deque()
        self._began = self._last = time.monotonic()
        self._next = self._began
        self._results = self._told = 0
        self._decisions: Counter[str] = Counter()
        self._dropped = 0
        self._recent: deque[tuple[str, float]] = deque(maxlen=SPAN)
        """Decision, and age in milliseconds."""

    def count(self, prediction: Prediction) -> None:
        """Take a result."""
        self._results += 1
        self._dropped += prediction.dropped
        self._decisions[prediction.decision] += 1
        self._recent.append((prediction.decision, prediction.age * 1000))

    def ask(self, payload: bytes | bytearray) -> None:
        """Note a question; never waits."""
        if len(self._asked) < ASKED:
            self._asked.append(payload[: LONGEST + 1])  # more of it would only be refused

    def due(self, delivery: Delivery) -> list[Message]:
        """Return what is to be sent now: answers, and the figures when their time has come."""
        messages = []
        while self._asked:
            messages.append(Message("answer", json.dumps(self._answered(self._asked.popleft())), retain=False))
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            messages.append(Message("stats", json.dumps(self.stats(now, delivery)), retain=True))
        return messages

    def stats(self, now: float, delivery: Delivery) -> dict[str, Any]:
        """Return the figures; ``now`` in seconds of ``time.monotonic``."""
        rate = (self._results - self._told) / (now - self._last) if now > self._last else 0.0
        self._told, self._last = self._results, now
        recent = tuple(self._recent)
        seen, ages = look(), sorted(age for _, age in recent)
        share = {
            name: sum(decision == name for decision, _ in recent) / max(1, len(recent))
            for name in ("abstained", "outlier")
        }
        return {
            "schema": STATS,
            "device": self._device,
            "at": utc(Moment.now()),
            "every_s": EVERY,
            "version": __version__,
            "uptime_s": round(now - self._began, 1),
            "results": self._results,
            "decisions": dict(self._decisions),
            "dropped": self._dropped,
            "fps": round(rate, 2),
            "fps_limit": self._origin.get("fps_limit"),
            "age_ms": {name: rounded(percentile_of(ages, of), 2) for name, of in (("p50", 0.5), ("p99", 0.99))},
            "rates": {name: round(value, 4) for name, value in share.items()},
            "usual": self._usual,
            "recent": len(recent),
            "waiting": delivery.waiting,
            "lost": sum(delivery.dropped.values()),
            "celsius": seen.celsius,
            "watts": rounded(seen.watts, 2),
            "throttled": seen.throttling.now,
            "throttled_why": list(seen.throttling.reasons),
            "memory_bytes": seen.process_bytes,
            "written_bytes": seen.written_bytes,
            "bundle": self._origin.get("bundle"),
            "engine": self._origin.get("engine"),
        }

    def _answered(self, payload: bytes | bytearray) -> dict[str, Any]:
        if len(payload) > LONGEST:
            return self._answer("", None, "refused", f"a {COMMAND} message has {LONGEST:,} bytes at most")
        try:
            asked = json.loads(payload)
            verb, name = asked["verb"], str(asked["id"])[:64]
            known = isinstance(verb, str) and asked.get("schema") == COMMAND
        # ValueError: neither JSON nor UTF-8; RecursionError: JSON nested deeper than Python reads.
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._answer("", None, "refused", f"not a {COMMAND} message")
        if not known or verb not in {"ping", "identify", "update"}:
            return self._answer(name, None, "refused", "the verbs are ping, identify and update")
        if verb == "update":
            return self._begin_update(name)
        about = {"version": __version__, **self._origin} if verb == "identify" else {}
        return {**self._answer(name, verb, "done", ""), **({"about": about} if about else {})}

    def _begin_update(self, name: str) -> dict[str, Any]:
        """Leave the word for the unit that updates: a message says when, and never what or from where."""
        if not self._update:
            return self._answer(
                name, "update", "refused", "this board takes no updates by MQTT; --mqtt-update allows it"
            )
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        if not state:
            return self._answer(name, "update", "refused", "this is no service; kdlight-edge service install makes one")
        asked = Path(state) / UPDATE_FILE
        try:
            asked.parent.mkdir(exist_ok=True)
            asked.touch()
        except OSError as error:
            return self._answer(name, "update", "failed", f"{asked}: {error.strerror}")
        self._report("mqtt: an update was asked for")
        return self._answer(name, "update", "begun", "")

    def _answer(self, name: str, verb: str | None, state: str, reason: str) -> dict[str, Any]:
        return {
            "schema": ANSWER, "device": self._device, "id": name, "verb": verb, "state": state, "reason": reason,
            "at": utc(Moment.now()),
        }  # fmt: skip


def _usual(artifact: Artifact | None, *, own_conf: bool) -> dict[str, float | None]:
    """Return the rates that the bundle's own held-out pictures have; None where it does not say."""
    if artifact is None:
        return {"abstained": None, "outlier": None}
    # A threshold of 0 accepts everything.
    abstained = artifact.usual.get("abstained", 0.0 if artifact.thresholds.accept == 0 else None)
    outlier = artifact.usual.get("outlier", USUAL_OUTLIERS)
    return {
        "abstained": None if own_conf else abstained,
        "outlier": None if artifact.thresholds.outlier is None else outlier,
    }
