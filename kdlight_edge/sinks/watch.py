"""Follows the results and tells every sink that listens what begins and what ends."""

from collections.abc import Sequence

from kdlight_edge.decide import Prediction
from kdlight_edge.events import Event, Events
from kdlight_edge.frame import Frame
from kdlight_edge.sinks import Listener


class Watch:
    """Stands before the sinks that it tells, and is closed before them: the end of a run ends what goes on."""

    wants_frames = False

    def __init__(self, events: Events, listeners: Sequence[Listener]) -> None:
        """Take what makes events of results, and who is told."""
        self._events, self._listeners = events, listeners

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Follow one result; raises as the listeners do."""
        del frame
        self._tell(self._events.add(prediction))

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            for listener in self._listeners:
                listener.tell(event)

    def close(self) -> None:
        """End the events that go on; safe to call twice."""
        self._tell(self._events.end())
