"""Progress and tallies: figures that are right, on a terminal and in a log."""

import io

import pytest

from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Moment
from kdlight_edge.progress import Progress, clock
from kdlight_edge.tally import Tally, truth_of


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Tell so."""
        return True


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (11_100, "3:05:00")])
def test_time_is_told_as_people_write_it(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_line_tells_count_speed_time_left_and_figures() -> None:
    bar = Progress(200, "pictures", label="teacher", stream=io.StringIO())
    bar.update(50, loss=0.123456, epoch="1/3")
    assert bar.line(bar._started + 10) == "teacher  50/200 pictures  5/s  0:30 left  loss 0.1235  epoch 1/3"


def test_where_nobody_knows_the_total_nothing_is_promised() -> None:
    bar = Progress(0, "frames", stream=io.StringIO())
    bar.update(300)
    assert bar.line(bar._started + 10) == "300 frames  30/s"


def test_a_log_gets_plain_lines_and_only_now_and_then() -> None:
    log = io.StringIO()
    bar = Progress(10, "pictures", stream=log)
    bar.update(1)
    assert log.getvalue() == ""
    bar._next = 0.0
    bar.update(1)
    bar.update(1)
    assert log.getvalue().count("\n") == 1
    assert log.getvalue().startswith("2/10 pictures")
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_a_bar_on_one_line_and_a_fresh_line_at_the_end() -> None:
    screen = Terminal()
    bar = Progress(10, "pictures", stream=screen)
    bar._next = 0.0
    bar.update(5)
    bar.close()
    assert screen.getvalue().count("\n") == 1
    assert "█" in screen.getvalue()
    assert screen.getvalue().startswith("\r")


def test_a_quiet_bar_says_nothing() -> None:
    screen = Terminal()
    bar = Progress(10, "pictures", quiet=True, stream=screen)
    bar.update(10)
    bar.close()
    assert screen.getvalue() == ""
    assert bar.done == 10


def prediction(decision: str = "accepted", label: str | None = "crack", *, age: float = 0.01) -> Prediction:
    now = Moment(0.0, 5.0)
    stages = {"prepare": 1.0, "infer": 2.0} if label else None
    return Prediction("x", 0, now, Moment(0.0, 5.0 + age), decision, "", label, 0.9, (), 0.1, 3, stages)


def test_a_tally_counts_decisions_labels_truth_and_times() -> None:
    tally = Tally()
    for _ in range(20):
        tally.add(prediction(), "crack")
    tally.add(prediction("abstained"), "no_crack")
    tally.add(prediction("error", None))
    summary = tally.summary(2.0)
    assert (summary.frames, summary.accepted, summary.abstained, summary.errors) == (22, 20, 1, 1)
    assert (summary.judged, summary.right, summary.dropped) == (21, 20, 66)
    assert summary.by_label == {"crack": 20}
    assert summary.images_per_second == 11.0
    assert summary.picture_ms["p50"] == summary.picture_ms["max"] == 3.0
    assert summary.age_ms["max"] == pytest.approx(10.0)


def test_a_percentile_that_too_few_samples_prove_is_not_told() -> None:
    tally = Tally()
    for _ in range(63):
        tally.add(prediction())
    assert set(tally.summary(1.0).age_ms) == {"p50", "max"}
    tally.add(prediction())
    assert set(tally.summary(1.0).age_ms) == {"p50", "p90", "max"}


@pytest.mark.parametrize(
    ("meta", "truth"),
    [
        ({"truth": "crack"}, "crack"),
        ({"truth": None}, None),
        ({"below": "test/crack/1.jpg"}, "crack"),
        ({"below": "misc/1.jpg"}, None),
        ({"below": "1.jpg"}, None),
        ({}, None),
    ],
)
def test_the_truth_is_what_the_source_or_the_folder_says(meta: dict[str, object], truth: str | None) -> None:
    assert truth_of(meta, {"crack", "no_crack"}) == truth
