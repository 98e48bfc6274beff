"""From results to events: a class that is held for a while begins one, and ends it when it is gone for as long."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kdlight_edge.decide import Prediction, rounded, utc
from kdlight_edge.frame import Moment

SCHEMA = "kdlight-edge/event/1"


@dataclass(frozen=True, slots=True)
class Event:
    """A class that was, or is, to be seen by one camera."""

    source: str
    label: str
    began: Moment
    """When the first of its frames was captured."""
    last: Moment
    """When the newest of its frames was captured."""
    frames: int
    """Accepted results of the class so far."""
    peak: float
    """Largest probability among them."""
    state: str
    """held | ended"""

    @property
    def decided(self) -> Moment:
        """The instant that stands for it in a queue of results."""
        return self.last

    @property
    def seconds(self) -> float:
        """How long it has lasted, by the clock that is never set."""
        return self.last.monotonic - self.began.monotonic


class Events:
    """Follows the results of any number of cameras; a frame that was not accepted neither feeds nor breaks an event."""

    def __init__(self, labels: Collection[str], hold: float) -> None:
        """Take the ids of the classes that matter and the seconds that one must be held."""
        self._labels = frozenset(labels)
        self._hold = hold
        self._open: dict[str, Event] = {}
        """By source: what may become an event, and what is one."""
        self._held: set[str] = set()
        """Sources whose entry is an event by now."""

    def add(self, prediction: Prediction) -> list[Event]:
        """Follow one result; return the events that it begins or ends, in their order."""
        found: list[Event] = []
        source, now = prediction.source, prediction.captured
        current = self._open.get(source)
        if current is not None and now.monotonic - current.last.monotonic >= self._hold:
            found += self._end(source)
            current = None
        if prediction.decision != "accepted" or prediction.label is None or prediction.probability is None:
            return found
        if current is not None and prediction.label != current.label and source not in self._held:
            del self._open[source]
            current = None
        if prediction.label not in self._labels or (current is not None and prediction.label != current.label):
            return found
        chance = prediction.probability
        if current is None:
            current = Event(source, prediction.label, now, now, 1, chance, "held")
        else:
            frames, peak = current.frames + 1, max(current.peak, chance)
            current = dataclasses.replace(current, last=now, frames=frames, peak=peak)
        self._open[source] = current
        if source not in self._held and current.seconds >= self._hold:
            self._held.add(source)
            found.append(current)
        return found

    def end(self) -> list[Event]:
        """Return the events that the end of the run ends."""
        return [event for source in tuple(self._open) for event in self._end(source)]

    def _end(self, source: str) -> list[Event]:
        event = self._open.pop(source)
        if source not in self._held:
            return []
        self._held.discard(source)
        return [dataclasses.replace(event, state="ended")]


def to_record(event: Event) -> dict[str, Any]:
    """Return an event as one JSON object."""
    return {
        "schema": SCHEMA,
        "state": event.state,
        "source": event.source,
        "label": event.label,
        "began": utc(event.began),
        "last": utc(event.last),
        "seconds": round(event.seconds, 3),
        "frames": event.frames,
        "peak": rounded(event.peak, 6),
    }
