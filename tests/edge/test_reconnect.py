"""Live sources: the newest frame once, and a lost camera that is opened again."""

import signal
import threading
import time

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.sources import Patience, outage
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.sources.reconnect import keep_reading

LIMIT = 20.0
"""Seconds after which a test that waits for something has failed."""


# The slot


def test_the_slot_hands_out_the_newest_frame_once_and_counts_the_rest() -> None:
    slot = Slot("cam")
    for shade in range(5):
        slot.put(np.full((2, 2, 3), shade, np.uint8), Moment.now())
    frame = slot.take()
    assert isinstance(frame, Frame)
    assert (frame.image[0, 0, 0], frame.index, frame.dropped) == (4, 4, 4)
    slot.put(np.zeros((2, 2, 3), np.uint8), Moment.now())
    again = slot.take()
    assert isinstance(again, Frame)
    assert (again.index, again.dropped) == (5, 0)
    slot.end()
    assert slot.take() is None


def test_an_undecodable_frame_in_the_slot_keeps_the_count_for_the_next() -> None:
    slot = Slot("cam")
    picture = np.zeros((2, 2, 3), np.uint8)
    slot.put(picture, Moment.now())
    slot.put("broken", Moment.now())
    bad = slot.take()
    assert isinstance(bad, Unreadable)
    slot.put(picture, Moment.now())
    frame = slot.take()
    assert isinstance(frame, Frame)
    assert (frame.index, frame.dropped) == (2, 1)


def test_closing_a_live_source_wakes_the_one_who_waits() -> None:
    waiting = threading.Event()

    def capture(slot: Slot) -> None:
        waiting.set()
        slot.closed.wait(LIMIT)

    source = Latest("cam", capture)

    def close() -> None:
        waiting.wait(LIMIT)
        source.close()

    closer = threading.Thread(target=close)
    closer.start()
    assert list(source) == []
    closer.join(LIMIT)


def test_a_signal_that_the_waiting_thread_did_not_feel_is_handled_all_the_same() -> None:
    slot, closed_by = Slot("test"), []

    def close(who: str) -> None:
        closed_by.append(who)
        slot.close()

    def raise_elsewhere() -> None:
        asked = threading.Event()
        while not slot.asked:
            asked.wait(0.01)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # as one that came a moment before the wait

    before = signal.signal(signal.SIGUSR1, lambda *_: close("signal"))
    rescue = threading.Timer(30, close, ["rescue"])
    rescue.start()
    other = threading.Thread(target=raise_elsewhere)
    other.start()
    try:
        assert slot.take() is None
    finally:
        rescue.cancel()
        other.join()
        signal.signal(signal.SIGUSR1, before)
    assert closed_by == ["signal"]


def test_an_error_of_the_capture_reaches_the_one_who_iterates() -> None:
    def capture(slot: Slot) -> None:
        slot.put(np.zeros((2, 2, 3), np.uint8), Moment.now())
        raise SourceError("gone for good")

    items = iter(Latest("cam", capture))
    assert isinstance(next(items), Frame)
    with pytest.raises(SourceError, match="gone for good"):
        next(items)


# Reconnection


class Flaky:
    """A feed that gives ``frames`` frames and is lost."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.closed = False

    def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
        """Give a frame or be lost."""
        if not self.left:
            raise SourceError("cable pulled")
        self.left -= 1
        return np.random.default_rng().integers(0, 256, (2, 2, 3), np.uint8), Moment.now()  # a repeat is left out

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def kinds(told: list[str]) -> list[str]:
    return [line.split(":")[0].split(" after")[0].removeprefix("cam ") for line in told]


def test_a_lost_camera_is_opened_again_and_each_cause_is_told_once() -> None:
    feeds: list[Flaky | SourceError] = [Flaky(2), SourceError("still off"), SourceError("still off"), Flaky(3)]
    opened: list[Flaky] = []
    told: list[str] = []

    def connect() -> Flaky:
        feed = feeds.pop(0) if feeds else SourceError("off")
        if isinstance(feed, SourceError):
            raise feed
        opened.append(feed)
        return feed

    source = keep_reading("cam", connect, Patience(retries=3, first_wait=0.01, longest_wait=0.02), told.append)
    with pytest.raises(SourceError, match=r"cam stayed away, given up after 3 attempts: off"):
        list(source)
    assert kinds(told) == ["lost", "stays away", "is back", "lost", "stays away"]
    assert all(feed.closed for feed in opened)


def test_a_camera_that_is_lost_at_once_each_time_is_waited_for_longer() -> None:
    waits: list[float] = []
    told: list[str] = []

    def connect() -> Flaky:
        waits.append(time.monotonic())
        return Flaky(0)

    source = keep_reading("cam", connect, Patience(retries=4, first_wait=0.02, longest_wait=0.08), told.append)
    with pytest.raises(SourceError, match="given up after 4 attempts"):
        list(source)
    gaps = np.diff(waits)
    assert (gaps >= [0.02, 0.04, 0.08, 0.08]).all()
    assert len(told) == 1


def test_a_camera_that_is_not_there_at_the_start_is_an_error_unless_it_may_be_waited_for() -> None:
    feeds: list[Flaky | SourceError] = [SourceError("off"), Flaky(1), SourceError("off"), SourceError("off")]
    told: list[str] = []

    def connect() -> Flaky:
        feed = feeds.pop(0) if feeds else SourceError("off")
        if isinstance(feed, SourceError):
            raise feed
        return feed

    with pytest.raises(SourceError, match="off"):
        keep_reading("cam", connect, Patience(), told.append)
    feeds.insert(0, SourceError("off"))
    patience = Patience(retries=2, first_wait=0.01, longest_wait=0.02, at_start=True)
    source = keep_reading("cam", connect, patience, told.append)
    items = iter(source)
    assert isinstance(next(items), Frame)
    with pytest.raises(SourceError, match="given up after 2 attempts"):
        next(items)
    assert kinds(told) == ["lost", "is back", "lost", "stays away"]


class FakeTime:
    """An event that is never set and notes how long it was waited for, in no time."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.over = False

    def is_set(self) -> bool:
        """Tell whether the source was closed."""
        return self.over

    def set(self) -> None:
        """Close."""
        self.over = True

    def wait(self, seconds: float) -> bool:
        """Note it."""
        self.waits.append(seconds)
        return self.over


def test_a_camera_that_is_away_for_a_day_is_tried_every_half_minute_and_comes_back() -> None:
    attempts = [0]
    told: list[str] = []

    def connect() -> Flaky:
        attempts[0] += 1
        if 1 < attempts[0] <= 2885 or 2886 < attempts[0] <= 2890:
            raise SourceError("unplugged")
        return Flaky(2)

    source = keep_reading("cam", connect, Patience(), told.append)
    fake = FakeTime()
    source._slot.closed = fake  # type: ignore[assignment]
    items = iter(source)
    while attempts[0] < 2892:
        next(items)
    source.close()
    day = fake.waits[: fake.waits.index(1.0, 1)]
    assert day[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert set(day[5:]) == {30.0}
    assert sum(day) > 86_000
    assert fake.waits[len(day) : len(day) + 5] == [1.0, 2.0, 4.0, 8.0, 16.0]  # a new loss begins anew
    assert kinds(told[:6]) == ["lost", "stays away", "is back"] * 2


def test_a_camera_that_gives_a_frame_and_is_lost_again_and_again_is_waited_for_longer_and_told_at_times() -> None:
    told: list[str] = []
    source = keep_reading("cam", lambda: Flaky(1), Patience(), told.append)
    fake = FakeTime()
    source._slot.closed = fake  # type: ignore[assignment]
    items = iter(source)
    while len(fake.waits) < 1200:  # of a day
        next(items)
    source.close()
    assert fake.waits[:10] == [1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert kinds(told) == ["lost", "is back"] * outage.OFTEN


def test_the_losses_that_were_not_told_are_counted_with_the_next_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    outages = outage.Outages("cam", Patience(), told.append)
    waits = []
    for _ in range(outage.OFTEN + 5):
        now[0] += 60
        waits.append(outages.failed(SourceError("no frame for 5.1 s")))
        outages.failed(SourceError("no frame for 6.2 s"))
        assert outages.over()
    assert (set(waits), len(told)) == ({1.0}, 2 * outage.OFTEN)
    now[0] += outage.WHILE
    outages.failed(SourceError("no frame for 5.0 s"))
    assert told[-1].endswith("trying to open it again (5 losses before it were not told)")


def test_a_camera_that_came_and_went_and_is_away_for_good_is_told_within_the_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    outages = outage.Outages("cam", Patience(), told.append)
    for _ in range(outage.OFTEN + 2):
        now[0] += 10
        outages.failed(SourceError("no frame for 5.1 s"))
        assert outages.over()
    told.clear()
    for _ in range(200):
        now[0] += 30
        outages.failed(SourceError("unplugged"))
    assert told == ["cam stays away: unplugged (2 losses before it were not told)"]
    assert outages.over()
    assert told[1].startswith("cam is back after ")
