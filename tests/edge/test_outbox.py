"""The outbox: a sink that is slow, dead or in error never holds up the writer, and what is lost is counted."""

import math
import threading
from typing import Any

import pytest

from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.outbox import Outbox
from tests.edge.fakes import prediction
from tests.waiting import LIMIT, until


class Gate:
    """A sink that delivers when it is let, and ends at once when it is closed."""

    wants_frames = False

    def __init__(self, *, open_: bool = False, fail: bool = False) -> None:
        self.got: list[int] = []
        self.fail = fail
        self.closed = 0
        self.open = threading.Event()
        if open_:
            self.open.set()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Wait for the gate."""
        del frame
        self.open.wait(LIMIT)
        if self.fail:
            raise KDLightError("the receiver is gone")
        self.got.append(prediction.index)

    def close(self) -> None:
        """Open the gate."""
        self.closed += 1
        self.open.set()


def outbox(sink: Any, **keywords: Any) -> tuple[Outbox, list[str]]:
    told: list[str] = []
    return Outbox("gate", sink, stop=keywords.pop("stop", threading.Event()), report=told.append, **keywords), told


def test_everything_is_delivered_in_order_before_the_end() -> None:
    gate = Gate(open_=True)
    box, told = outbox(gate)
    for index in range(500):
        box.write(prediction(index), None)
    box.close()
    box.close()
    assert gate.got == list(range(500))
    assert gate.closed == 1
    assert box.delivery().delivered == 500
    assert told == []


def test_a_dead_sink_never_holds_up_the_writer_and_the_oldest_are_dropped_with_the_reason() -> None:
    gate = Gate()
    box, told = outbox(gate, room=10)
    for index in range(100):
        box.write(prediction(index), None)
    found = box.delivery()
    assert found.delivered == 0
    assert found.dropped["full"] + found.waiting == 100
    gate.open.set()
    box.close()
    assert gate.got[-10:] == list(range(90, 100))
    assert told == [f"gate: {100 - len(gate.got)} of 100 results were not delivered ({100 - len(gate.got)} full)"]


def test_a_folder_waits_for_room_while_the_sink_moves() -> None:
    gate = Gate()
    box, told = outbox(gate, room=5, wait=True)

    def write() -> None:
        for index in range(50):
            box.write(prediction(index), None)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: box.delivery().waiting >= 5)
    gate.open.set()
    writer.join(LIMIT)
    box.close()
    assert gate.got == list(range(50))
    assert told == []


def test_a_folder_does_not_wait_for_ever_for_a_dead_sink() -> None:
    gate = Gate()
    box, _ = outbox(gate, room=5, wait=True, patience=0.05)
    for index in range(50):
        box.write(prediction(index), None)
    box.close()
    found = box.delivery()
    assert found.dropped["full"] >= 40
    assert found.dropped["closing"] >= 5


def test_what_is_left_when_a_signal_ended_the_run_is_counted_as_closing() -> None:
    gate, stop = Gate(), threading.Event()
    stop.set()
    box, told = outbox(gate, stop=stop, patience=math.inf)
    for index in range(7):
        box.write(prediction(index), None)
    closing = threading.Thread(target=box.close, daemon=True)
    closing.start()
    closing.join(LIMIT)
    assert not closing.is_alive()
    assert box.delivery().dropped["closing"] >= 6
    assert "closing" in told[-1]


def test_a_sink_that_fails_is_told_once_and_counted() -> None:
    box, told = outbox(Gate(open_=True, fail=True))
    for index in range(5):
        box.write(prediction(index), None)
    box.close()
    assert told == ["gate: the receiver is gone", "gate: 5 of 5 results were not delivered (5 failed)"]


def test_a_fault_of_the_sink_itself_reaches_the_writer() -> None:
    class Broken(Gate):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            del prediction, frame
            raise ZeroDivisionError

    box, _ = outbox(Broken())
    box.write(prediction(0), None)
    with pytest.raises(ZeroDivisionError):
        box.close()
    with pytest.raises(ZeroDivisionError):
        box.write(prediction(1), None)


def test_a_sink_that_does_not_listen_is_told_of_no_event() -> None:
    seen: list[int] = []

    class Deaf:
        wants_frames = False

        def write(self, found: Prediction, frame: Frame | None) -> None:
            del frame
            seen.append(found.index)

        def close(self) -> None:
            """Nothing is open."""

    box, _ = outbox(Deaf())
    box.tell(Event("cam", "crack", Moment.now(), Moment.now(), 7, 0.9, "held"))
    box.write(prediction(1), None)
    box.close()
    assert (seen, box.delivery().delivered) == ([1], 1)
