"""What stands between a camera and the files, pipes and disks that its results are written to."""

import threading
from typing import TYPE_CHECKING

from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame
from kdlight_edge.sinks import Listener, Sink
from kdlight_edge.sinks.outbox import ROOM, Delivery, Outbox
from kdlight_edge.sources import Answerable, tell

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 1.0
"""Seconds that one sink waits for another which must have a result first, before it goes on without it."""


class Queues:
    """Gives each slow sink of a live source its own queue and thread; a folder or a file waits for its sinks."""

    def __init__(self, stop: threading.Event, *, live: bool) -> None:
        """Take what ends the run early, and whether the source is live: its frames do not wait for a disk."""
        self.deliveries: list[Callable[[], Delivery]] = []
        """How each sink stands; grows as they are opened."""
        self.losses: list[Callable[[], int]] = []
        """What sinks that count in another way have lost."""
        self._stop, self._live = stop, live
        self._boxes: dict[str, Outbox] = {}

    def before(self, name: str, sink: Sink, *, room: int = ROOM, after: str = "") -> Sink:
        """Return what results are to be written to.

        Args:
            name: of the sink, in the metrics and for people.
            sink: used by one thread only, from now on.
            room: predictions held at most.
            after: name of a sink, opened before, that has each result before this one, so that after a kill no result
                was told here that is not there. A sink that is stuck is not waited for.
        """
        if not self._live:
            return sink
        first = self._boxes.get(after)
        outbox = Outbox(name, sink if first is None else _After(sink, first), stop=self._stop, alone=True, room=room)
        self._boxes[name] = outbox
        self.deliveries.append(outbox.delivery)
        return outbox

    def written(self, prediction: Prediction) -> bool:
        """Whether a prediction that was just written is where it should be, in all of them; waits for a slow disk."""
        return all(box.arrived(prediction) for box in self._boxes.values())

    def lost(self) -> int:
        """Return how many results will not be where they should, once all sinks are closed."""
        return sum(delivery().lost for delivery in self.deliveries) + sum(count() for count in self.losses)


class Receipt:
    """The last sink of a run whose source owes its sender a word: what was not written is not acknowledged."""

    wants_frames = False

    def __init__(self, source: Answerable, queues: Queues) -> None:
        """Take who is told, and where results are written to."""
        self._source, self._queues = source, queues

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Wait until a result was written."""
        del frame
        if not self._queues.written(prediction):
            self._source.withhold()

    def close(self) -> None:
        """Nothing is held back."""


class Returning:
    """A sink without a queue before it: what it cannot write is sent back to who sent it, and the run goes on."""

    def __init__(self, sink: Sink, source: Answerable) -> None:
        """Take the sink, and who is told of each result that was not written."""
        self.wants_frames = sink.wants_frames
        self.close = sink.close
        self._sink, self._source = sink, source
        self._failing = False

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write, or withhold."""
        try:
            self._sink.write(prediction, frame)
        except KDLightError as error:
            if not self._failing:
                tell(f"{error}; scans are sent back until then")
            self._failing = True
            self._source.withhold()
        else:
            self._failing = False


class _After:
    """A sink whose turn comes after another's."""

    def __init__(self, sink: Sink, first: Outbox) -> None:
        self.wants_frames = sink.wants_frames
        self.close = sink.close
        self._sink, self._first = sink, first

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        self._first.wait_for(prediction, PATIENCE)
        self._sink.write(prediction, frame)

    def tell(self, event: Event) -> None:
        if isinstance(self._sink, Listener):
            self._sink.tell(event)
