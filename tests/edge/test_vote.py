"""A vote over seconds: time counts and not frames, a change must be clear, and a gap begins anew."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction, Voted, to_record
from kdlight_edge.frame import Moment
from kdlight_edge.vote import Vote

SCENE = "scene:crack?size=64x64&fps=100&frames=60"


def seen(at: float, what: str = "crack", probability: float = 0.9) -> Prediction:
    """Give a frame; ``what`` is a label, or a decision that is none."""
    moment = Moment(1e9 + at, at)
    decision = what if what in {"abstained", "outlier", "stale", "error"} else "accepted"
    label = None if what == "error" else "crack" if decision != "accepted" else what
    return Prediction("cam", 0, moment, moment, decision, "", label, None if label is None else probability)


def votes(frames: Sequence[Prediction], seconds: float = 2.0) -> list[Voted]:
    vote = Vote(seconds)
    found = [vote.add(frame).vote for frame in frames]
    assert None not in found
    return [one for one in found if one is not None]


def told(frames: Sequence[Prediction], seconds: float = 2.0) -> list[str]:
    return [one.label or one.decision for one in votes(frames, seconds)]


def test_it_is_open_until_frames_speak_for_half_of_the_time() -> None:
    found = told([seen(i / 10) for i in range(30)])
    assert found == ["open"] * 10 + ["crack"] * 20


def test_one_wrong_frame_changes_nothing_and_a_lasting_change_does() -> None:
    frames = [seen(i / 10, "none" if i == 25 else "crack") for i in range(40)]
    assert set(told(frames)[10:]) == {"crack"}
    found = told([seen(i / 8, "none" if i >= 40 else "crack") for i in range(80)])
    assert found[40:] == ["crack"] * 9 + ["none"] * 31  # ten of the sixteen frames of two seconds are more than 60 %


def test_an_answer_on_the_border_does_not_flicker() -> None:
    frames = [seen(i / 10, "crack" if i < 20 or i % 2 else "none") for i in range(200)]
    assert set(told(frames)[10:]) == {"crack"}
    frames = [seen(i / 10, "none" if i < 20 or i % 2 else "crack") for i in range(200)]
    assert set(told(frames)[10:]) == {"none"}


def test_exactly_the_share_that_is_asked_for_is_enough() -> None:
    before = [seen(i / 10, "none") for i in range(9)]
    assert told([*before, *(seen(i / 10, "crack") for i in range(9, 21))])[-1] == "crack"  # 12 of 20
    assert told([*before, *(seen(i / 10, "crack" if i % 2 else "stain") for i in range(9, 21))])[-1] == "none"  # 8


def test_time_counts_and_not_frames() -> None:
    """A second of 10 frames of one class outweighs half a second of 100 of the other."""
    slow = [seen(10 + i / 10, "crack") for i in range(14)]
    fast = [seen(11.3 + i / 200, "none") for i in range(1, 101)]
    assert told(slow + fast)[-1] == "crack"


def test_dropped_frames_do_not_shift_the_vote() -> None:
    frames = [seen(i / 30, "crack" if i % 10 < 7 else "none") for i in range(300)]
    thinned = [frame for i, frame in enumerate(frames) if i % 10 != 3 and i % 7]
    whole, less = votes(frames)[-1], votes(thinned)[-1]
    assert (whole.label, less.label) == ("crack", "crack")
    assert whole.share == pytest.approx(0.7, abs=0.02)
    assert less.share == pytest.approx(whole.share, abs=0.05)


@pytest.mark.parametrize("decision", ["abstained", "outlier", "stale"])
def test_frames_that_were_not_accepted_count_as_what_they_are(decision: str) -> None:
    frames = [seen(i / 10, decision if i >= 20 else "crack") for i in range(60)]
    last = votes(frames)[-1]
    assert (last.decision, last.label, last.probability) == (decision, None, None)
    assert last.reason == "100% of the time"


def test_errors_are_no_answers_and_a_gap_begins_anew() -> None:
    frames = [seen(i / 10) for i in range(30)] + [seen(3 + i / 10, "error") for i in range(30)]
    assert told(frames)[29:45] == ["crack"] * 11 + ["open"] * 5
    after = [*frames[:30], *(seen(100 + i / 10, "none") for i in range(10))]
    assert told(after)[30:] == ["open"] * 5 + ["none"] * 5  # the first of them speaks for a quarter of the seconds
    torn = [*frames[:30], *(seen(100 + i / 10, "crack" if i else "none") for i in range(6))]
    assert told(torn)[30:] == ["open"] * 6  # half of the time each: what was answered before the gap is not held on to


def test_a_clock_that_goes_back_and_a_burst_at_one_instant_weigh_nothing() -> None:
    frames = [seen(i / 10) for i in range(30)]
    burst = [seen(2.9, "none") for _ in range(500)] + [seen(2.0, "none")]
    assert set(told([*frames, *burst])[10:]) == {"crack"}
    assert votes([*frames, *burst])[-1].share == 1.0


def test_the_probability_is_the_mean_over_the_time_of_its_frames() -> None:
    frames = [seen(i / 10, "crack", 0.8 if i % 2 else 0.6) for i in range(60)]
    last = votes(frames)[-1]
    assert last.probability == pytest.approx(0.7)
    assert last.share == 1.0
    assert last.frames == 20


def test_sums_stay_exact_over_many_frames() -> None:
    vote = Vote(2.0)
    for i in range(50_000):
        vote.add(seen(i * 0.0337, "crack" if i % 3 else "none", 0.5 + (i % 7) / 15))
    assert vote._weights.total() == sum(ballot.nanoseconds for ballot in vote._ballots)
    assert len(vote._ballots) <= 60


def test_a_line_keeps_the_frames_own_answer_beside_the_vote() -> None:
    vote = Vote(1.0)
    for i in range(30):
        found = vote.add(seen(i / 10))
    record = to_record(vote.add(seen(3.0, "none")), {})
    assert (record["label"], record["vote"]["label"]) == ("none", "crack")
    assert record["vote"]["decision"] == "accepted"
    assert "vote" not in to_record(seen(0.0), {})
    assert found.vote is not None


def test_each_camera_votes_for_itself(tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    cameras = ["--camera", SCENE, "--camera", SCENE.replace("64x64", "48x48")]
    arguments = ["infer", *cameras, "--model", str(tiny_bundle()), "--json", "--vote", "0.2"]
    code = main(arguments)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert code == 0
    assert all({"decision", "label", "share", "frames", "reason", "probability"} == set(line["vote"]) for line in lines)
    for source in {line["source"] for line in lines}:
        frames = [line["vote"]["frames"] for line in lines if line["source"] == source]
        assert frames[0] == 1
        assert max(frames) <= 22


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--folder", ".", "--vote", "2"], "--vote says nothing without a camera"),
        (["--camera", SCENE, "--vote", "0"], "--vote 0 is not a time"),
        (["--camera", SCENE, "--vote", "90"], "--vote 90 looks back too far"),
    ],
)
def test_a_vote_that_cannot_be_is_a_usage_error(
    flags: list[str], said: str, tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["infer", *flags, "--model", str(tiny_bundle())]) == 2
    assert said in capfd.readouterr().err
