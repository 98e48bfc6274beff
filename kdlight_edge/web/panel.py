"""What the page shows of one source: its newest result, the last minutes, and what has changed."""

import threading
import time
from collections import Counter, deque
from typing import Any

from kdlight_edge.decide import Prediction, rounded, utc
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame

STEP = 0.5
"""Seconds between two points of the history."""

POINTS = 240
"""Points kept: two minutes."""

HELD = 1.0
"""Seconds that an answer must hold before it is told as a change: a camera that wavers would tell thirty a second."""

CHANGES = 20
"""Changes kept."""

AGES = 120
"""Results over which the ages are summed up."""


class Panel:
    """Written to by the run, a few numbers a frame; read by the page's server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frame: Frame | None = None
        """The newest picture, kept only while somebody looks."""
        self.newest: Prediction | None = None
        self.answered: Prediction | None = None
        """The newest with a label; an error in the place of a picture has none."""
        self.points: deque[tuple[int, float, float | None, str | None, str, int]] = deque(maxlen=POINTS)
        """Number, seconds since 1970, probability, label, decision, results so far."""
        self.changes: deque[dict[str, Any]] = deque(maxlen=CHANGES)
        self.decisions: Counter[str] = Counter()
        self.dropped = 0
        self._lock = threading.Lock()
        self._ages: deque[float] = deque(maxlen=AGES)
        self._state: tuple[str | None, str] = (None, "")
        self._since = 0.0
        self._told: tuple[str | None, str] | None = None
        self._first: dict[str, Any] = {}
        self._due = 0.0
        self._number = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=8)

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a result, and its picture where somebody looks."""
        now = prediction.decided.monotonic
        with self._lock:
            self.newest, self.frame = prediction, frame
            self.decisions[prediction.decision] += 1
            self.dropped += prediction.dropped
            if prediction.label is not None:
                self.answered = prediction
                self._ages.append(prediction.age)
            self._notice(prediction, now)
            if now >= self._due:
                self._due = now + STEP
                self._number += 1
                count = self.decisions.total()
                self._recent.append((now, count))
                self.points.append((
                    self._number, round(prediction.decided.utc, 1), rounded(prediction.probability, 3),
                    prediction.label, prediction.decision, count,
                ))  # fmt: skip

    def tell(self, event: Event) -> None:
        """List an event among the changes: when it is known, and when it has ended."""
        said = f"event over, {event.seconds:.1f} s" if event.state == "ended" else "event"
        with self._lock:
            self.changes.append({
                "at": round(event.last.utc, 1), "label": event.label, "decision": "accepted",
                "probability": rounded(event.peak, 3), "event": said,
                "reason": f"seen since {utc(event.began)}, in {event.frames:,} pictures",
            })  # fmt: skip

    def _notice(self, prediction: Prediction, now: float) -> None:
        """List a change once it has held."""
        state = (prediction.label, prediction.decision)
        if state != self._state:
            self._state, self._since = state, now
            self._first = {
                "at": round(prediction.decided.utc, 1), "label": prediction.label, "decision": prediction.decision,
                "probability": rounded(prediction.probability, 3), "reason": prediction.reason,
            }  # fmt: skip
        if state != self._told and (now - self._since >= HELD or self._told is None):
            self._told = state
            self.changes.append(self._first)

    def history(self, after: int = 0) -> list[tuple[int, float, float | None, str | None, str, int]]:
        """Return the points whose number is above ``after``."""
        with self._lock:
            return [point for point in self.points if point[0] > after]

    def figures(self) -> dict[str, Any]:
        """Return what holds now, as plain JSON types."""
        with self._lock:
            newest, answered, ages = self.newest, self.answered, sorted(self._ages)
            recent, count = list(self._recent), self.decisions.total()
            decisions, changes, dropped = dict(self.decisions), list(self.changes), self.dropped
        now = time.monotonic()
        shown: dict[str, Any] = {"label": None, "probability": None, "top": [], "milliseconds": {}, "outlier": None}
        if answered is not None:
            shown = {
                "label": answered.label, "probability": rounded(answered.probability, 3),
                "top": [[label, rounded(value, 3)] for label, value in answered.top],
                "milliseconds": {stage: round(took, 2) for stage, took in (answered.milliseconds or {}).items()},
                "outlier": rounded(answered.outlier, 3),
            }  # fmt: skip
        return {
            "name": self.name,
            **shown,
            "decision": None if newest is None else newest.decision,
            "reason": "" if newest is None else newest.reason,
            "index": None if newest is None else newest.index,
            "silent": None if newest is None else round(now - newest.captured.monotonic, 2),
            "age_ms": _percentile(ages, 0.5),
            "age_p99_ms": _percentile(ages, 0.99),
            "fps": _rate(recent, now, count),
            "results": count,
            "dropped": dropped,
            "decisions": decisions,
            "changes": sorted(changes, key=_at)[::-1],
        }


def _at(change: dict[str, Any]) -> float:
    at: float = change["at"]
    return at


def _percentile(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1) if ordered else None


def _rate(recent: list[tuple[float, int]], now: float, count: int) -> float:
    """Return results a second over the last four seconds or so."""
    if not recent:
        return 0.0
    since, before = next(((at, seen) for at, seen in recent if now - at < 5), recent[-1])  # noqa: PLR2004 - seconds
    return round((count - before) / max(now - since, STEP), 1)
