"""A bounded queue and a thread of its own before a slow sink, so that a slow or dead one never slows the camera."""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame
from kdlight_edge.sinks import Listener, Sink
from kdlight_edge.sources import tell

ROOM = 1000
"""Predictions held at most; without their pictures about a kilobyte each."""

PATIENCE = 10.0
"""Seconds that a folder waits for a sink which delivers nothing, and that the end of a run waits for it."""

HURRY = 0.3
"""Seconds that the end of a run waits where a signal asked for it."""


class Undelivered(KDLightError):
    """A prediction that its receiver will not have; ``reason`` is one word for the counters."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a sink with a queue stands."""

    sink: str
    waiting: int
    delivered: int
    dropped: Mapping[str, int]
    """How many were given up, by reason in one word."""
    kept: bool = False
    """Whether what waits is on the disk, where the next run finds it."""

    @property
    def lost(self) -> int:
        """How many will not be delivered, once the sink is closed."""
        return sum(self.dropped.values()) + (0 if self.kept else self.waiting)


@runtime_checkable
class Accountable(Protocol):
    """A sink that keeps an account of what it was not given (an audit)."""

    def missed(self, lost: Mapping[str, int]) -> None:
        """Note, between two predictions, how many are missing there, by reason in one word; raises as ``write``."""
        ...


@runtime_checkable
class Doubtful(Protocol):
    """A sink that learns only later whether what it took has arrived (an encoder)."""

    @property
    def in_doubt(self) -> int:
        """How many of those it took may be lost, or are and were not told; asked from any thread."""

    def lost(self) -> int:
        """Return how many of those it took have not arrived; each is told once, to the thread that writes."""


class Outbox:
    """Takes predictions at once and hands them to another sink from a thread of its own, in order.

    When the queue is full the oldest prediction makes room, as the newest says what is true now: counted as ``full``.
    What the sink raises is counted by its reason, told once, and the next prediction is tried; that it works again is
    told too. What is left at the end is counted as ``closing``. An `Accountable` sink is told what it missed.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        stop: threading.Event,
        wait: bool = False,
        alone: bool = False,
        room: int = ROOM,
        patience: float = PATIENCE,
        report: Callable[[str], None] = tell,
    ) -> None:
        """Start the thread.

        Args:
            name: of the sink, in the counters and for people.
            sink: its ``close`` is called from another thread than ``write``, which it must end within a moment; but see
                ``alone``.
            stop: once set, the end of the run waits `HURRY` and not ``patience``.
            wait: let the writer wait for room (a folder, which can), until nothing was delivered for ``patience``.
            alone: the sink is closed by the thread that writes it; one that hangs (a file on a disk that stalls) is
                left behind by the end of the run.
            room: predictions held at most.
            patience: seconds, see `PATIENCE`.
            report: takes a line for people when deliveries begin to fail, when they work again, and at the end.
        """
        self.wants_frames = sink.wants_frames
        self._name, self._sink, self._stop, self._wait = name, sink, stop, wait
        self._alone = alone
        self._room, self._patience, self._report = room, patience, report
        # Asked once: to look for a contract's methods takes as long as the rest of a delivery.
        self._doubtful = sink if isinstance(sink, Doubtful) else None
        self._changed = threading.Condition()
        self._queue: deque[tuple[Prediction | Event, Frame | None]] = deque()
        self._busy = self._closing = self._failing = False
        self._moved = time.monotonic()
        """When something was delivered or given up by the sink; the queue counts as stuck when that is long ago."""
        self._delivered = 0
        self._told = 0
        """The most deliveries told: a counter never falls."""
        self._dropped: Counter[str] = Counter()
        self._unnoted: Counter[str] = Counter()
        """What an `Accountable` sink has not been told of yet."""
        self._reached = self._given_up = 0.0
        """Monotonic time of the decision up to which everything was delivered or given up, of the last one given up."""
        self._stuck = False
        """Whether somebody has waited for it in vain since it last moved."""
        self._error: BaseException | None = None
        # A daemon, as a delivery that hangs must not hold up the end of the program.
        self._thread = threading.Thread(target=self._work, name=f"outbox {name}", daemon=True)
        self._thread.start()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Queue one prediction; returns at once, but see ``wait``."""
        # A queue of pictures that nobody wants would fill the memory.
        self._put(prediction, frame if self.wants_frames else None)

    def tell(self, event: Event) -> None:
        """Queue an event between the predictions, where the sink listens."""
        if isinstance(self._sink, Listener):
            self._put(event, None)

    def _put(self, item: Prediction | Event, frame: Frame | None) -> None:
        with self._changed:
            if self._error is not None:
                raise self._error
            if not self._queue and not self._busy:
                self._moved = time.monotonic()
            if self._wait:
                self._wait_until(lambda: len(self._queue) < self._room, self._patience)
            if len(self._queue) >= self._room:
                self._given_up = self._queue.popleft()[0].decided.monotonic
                self._reached = max(self._reached, self._given_up)
                self._lose("full", 1)
            self._queue.append((item, frame))
            self._changed.notify_all()

    def _lose(self, reason: str, count: int) -> None:
        """Count, with the lock held, what will not be delivered."""
        self._dropped[reason] += count
        self._unnoted[reason] += count

    def _wait_until(self, done: Callable[[], bool], patience: float) -> None:
        """Wait, with the lock held, until ``done`` or until nothing has moved for ``patience`` seconds."""
        while not done() and self._error is None:
            left = self._moved + (HURRY if self._stop.is_set() else patience) - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, HURRY))

    def delivery(self) -> Delivery:
        """Return how it stands; may be asked from any thread."""
        with self._changed:
            doubt = 0 if self._doubtful is None else self._doubtful.in_doubt
            self._told = max(self._told, self._delivered - doubt)
            return Delivery(self._name, len(self._queue) + self._busy, self._told, dict(self._dropped))

    def wait_for(self, prediction: Prediction, patience: float) -> None:
        """Wait until a prediction was delivered or given up, ``patience`` seconds once and no more while it is stuck.

        It must have been written here before; may be called from any thread.
        """
        with self._changed:
            if not self._stuck:
                self._stuck = not self._changed.wait_for(
                    lambda: self._reached >= prediction.decided.monotonic or self._closing, patience
                )

    def arrived(self, prediction: Prediction) -> bool:
        """Wait until the prediction that was written last was delivered or given up; return whether delivered."""
        decided = prediction.decided.monotonic
        with self._changed:
            self._wait_until(lambda: self._reached >= decided, self._patience)
            return self._reached >= decided > self._given_up and self._error is None

    def close(self) -> None:
        """Wait for what is queued, as long as it moves, give the rest up and close the sink; told in one line."""
        with self._changed:
            if self._closing:
                return
            self._moved = time.monotonic()
            self._wait_until(lambda: not self._queue and not self._busy, self._patience)
            self._closing = True
            self._lose("closing", len(self._queue))
            self._queue.clear()
            self._changed.notify_all()
        if not self._alone:
            self._sink.close()
        self._thread.join(HURRY)
        if self._error is not None:
            raise self._error
        self._tell_the_end()

    def _tell_the_end(self) -> None:
        found = self.delivery()
        dropped = {reason: count for reason, count in found.dropped.items() if count}
        if found.waiting:  # its thread still hangs in the sink
            dropped["closing"] = dropped.get("closing", 0) + found.waiting
        if dropped:
            lost, reasons = sum(dropped.values()), ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
            self._report(f"{self._name}: {lost:,} of {lost + self._delivered:,} results were not delivered ({reasons})")

    def _work(self) -> None:
        while (item := self._take()) is not None:
            reason = ""
            try:
                self._account()
                self._hand_over(*item)
            except BrokenPipeError as error:  # nobody reads stdout any more: that ends a run
                self._error = error
            except (KDLightError, OSError) as error:
                reason = error.reason if isinstance(error, Undelivered) else "failed"
                if not self._failing and not self._closing:
                    self._report(f"{self._name}: {error}")
            except BaseException as error:  # noqa: BLE001 - a fault of ours: carried to the writer, which raises it
                self._error = error
            self._settle(item[0], reason)
        if self._alone:
            self._end()

    def _hand_over(self, item: Prediction | Event, frame: Frame | None) -> None:
        if not isinstance(item, Event):
            self._sink.write(item, frame)
        elif isinstance(self._sink, Listener):
            self._sink.tell(item)

    def _end(self) -> None:
        try:
            with contextlib.suppress(KDLightError):  # told when it began
                self._account()
            self._sink.close()
        except BaseException as error:  # noqa: BLE001 - carried to who closes, which raises it
            self._error = self._error or error
        with self._changed:
            self._take_back()

    def _take_back(self) -> None:
        """Count as lost, with the lock held, what was taken for delivered and did not arrive."""
        if self._doubtful is not None and (lost := self._doubtful.lost()):
            self._delivered -= lost
            self._lose("failed", lost)

    def _account(self) -> None:
        """Tell the sink what it has missed, where it wants to know; what cannot be noted now stays to be noted."""
        if not self._unnoted or not isinstance(self._sink, Accountable):
            return
        with self._changed:
            lost = Counter({reason: count for reason, count in self._unnoted.items() if count})
        if lost:
            self._sink.missed(lost)
            with self._changed:
                self._unnoted -= lost

    def _take(self) -> tuple[Prediction | Event, Frame | None] | None:
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            if self._closing or self._error is not None:
                return None
            self._busy = True
            return self._queue.popleft()

    def _settle(self, item: Prediction | Event, reason: str) -> None:
        with self._changed:
            self._busy = self._stuck = False
            self._reached = max(self._reached, item.decided.monotonic)
            self._moved = time.monotonic()
            self._take_back()
            if reason:
                self._given_up = item.decided.monotonic
                self._lose("closing" if self._closing else reason, 1)
            elif self._error is None:
                self._delivered += 1
                if self._failing and not self._closing:
                    lost = sum(self._dropped.values())
                    self._report(f"{self._name}: works again; {lost:,} results were lost until now")
            self._failing = bool(reason)
            self._changed.notify_all()
