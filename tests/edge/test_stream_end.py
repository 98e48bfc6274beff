"""The end of a stream: whatever ends it, and whenever a signal comes, no worker is in work and nothing stays open."""

import inspect
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import numpy as np
import pytest

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.stream import run

LIMIT = 20.0
RED = np.full((20, 20, 3), (220, 0, 0), np.uint8)


class Busy:
    """An album whose pictures take a while, and that must not be closed meanwhile."""

    live = False

    def __init__(self, count: int, *, seconds: float = 0.05) -> None:
        self.count = count
        self.seconds = seconds
        self.working: set[int] = set()
        self.closed = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame | Unreadable:
        self.working.add(index)
        time.sleep(self.seconds)
        self.working.discard(index)
        return Frame(RED, Moment.now(), "busy", index)

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        raise AssertionError("an album is read by index")

    def close(self) -> None:
        """Remember."""
        assert not self.working
        self.closed = True


class Failing:
    """A sink that has no room."""

    def __init__(self, *, wants_frames: bool = True) -> None:
        self.wants_frames = wants_frames
        self.closed = 0

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Fail."""
        del prediction, frame
        raise KDLightError("the disk is full")

    def close(self) -> None:
        """Count."""
        self.closed += 1


def at_work() -> list[threading.Thread]:
    """Return the workers that have not ended; those that are about to are waited for."""
    crew = [thread for thread in threading.enumerate() if thread.name.startswith("worker ")]
    for thread in crew:
        thread.join(0.2)
    return [thread for thread in crew if thread.is_alive()]


@pytest.mark.parametrize("wants_frames", [True, False])
def test_no_worker_is_in_work_any_more_after_a_sink_failed(classifier: Classifier, *, wants_frames: bool) -> None:
    source = Busy(200)
    with pytest.raises(KDLightError, match="the disk is full"):
        run(source, classifier, [Failing(wants_frames=wants_frames)], workers=3)
    assert source.closed
    assert not at_work()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_signal_while_the_workers_end_is_raised_once_they_have_ended(classifier: Classifier, workers: int) -> None:
    ending, held = threading.Event(), threading.Event()

    class Interrupting(Busy):
        """Interrupts the main thread while that waits for this picture, and goes on with it for a while."""

        def __getitem__(self, index: int) -> Frame | Unreadable:
            if ending.is_set() and not held.is_set():
                self.working.add(index)
                held.set()
                time.sleep(0.05)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return super().__getitem__(index)

    class FailingThen(Failing):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            ending.set()
            assert held.wait(LIMIT)
            super().write(prediction, frame)

    source, sink = Interrupting(200, seconds=0.1), FailingThen()
    with pytest.raises(KeyboardInterrupt):
        run(source, classifier, [sink], workers=workers)
    assert source.closed
    assert sink.closed == 1
    assert not at_work()


class InterruptedAt(Failing):
    """A sink after whose failure the n-th moment is interrupted at which Python raises what a signal asks for.

    That is where a function begins and where a built-in one returns.
    """

    def __init__(self, moment: int) -> None:
        super().__init__()
        self.left = moment

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Fail, and begin to count."""
        sys.setprofile(self.count)
        super().write(prediction, frame)

    def count(self, frame: FrameType, event: str, argument: object) -> None:
        """Count the moments in the code of the run itself; what is thrown into a generator begins no function."""
        del argument
        begins = event == "call" and not frame.f_code.co_flags & inspect.CO_GENERATOR
        if (begins or event == "c_return") and frame.f_code.co_filename.endswith(("/stream.py", "/contextlib.py")):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt  # Python counts no further, then


@pytest.fixture
def counted() -> Iterator[None]:
    yield
    sys.setprofile(None)


def test_an_interrupt_at_any_moment_of_the_end_leaves_no_worker_in_work_and_nothing_open(
    classifier: Classifier, counted: None
) -> None:
    del counted
    moment, last = 0, False
    while not last:
        moment += 1
        source, sink, other = Busy(50, seconds=0.005), InterruptedAt(moment), Failing()
        with pytest.raises((KDLightError, KeyboardInterrupt)) as raised:
            run(source, classifier, [sink, other], workers=2)
        sys.setprofile(None)
        last = sink.left > 0
        assert raised.type is (KDLightError if last else KeyboardInterrupt), moment
        assert source.closed, moment
        assert sink.closed, moment
        assert other.closed, moment
        assert not at_work(), moment
    assert moment > 10  # there was something to interrupt
