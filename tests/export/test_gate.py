"""The gate keeps what is as right and faster, and says of everything else why it was left out."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from kdlight_edge.manifest import Artifact, Label, Thresholds
from kdlight_export.candidates import Candidate
from kdlight_export.gate import BURST, ROUNDS, Measured, judge, preference, race, table
from kdlight_export.parity import Parity
from kdlight_export.plan import Int8, Plan, make_plan
from kdlight_export.refit import refit

LABELS = (Label("crack", "Crack", positive=True, sensitivity_floor=0.9), Label("no_crack", "No crack"))
TRUTH = np.arange(200) % 2


def plan(int8: Int8 = "auto") -> Plan:
    return make_plan("x86-vnni", int8=int8)


def parity(**changes: Any) -> Parity:
    logits = np.random.default_rng(5).normal(0, 2, (200, 2)).astype(np.float32)
    logits[np.arange(200), TRUTH] += 3
    outlier = np.linspace(0.5, 1.5, 200, dtype=np.float32)
    found = Parity(224, 1.0, ("crack", 1.0), 0.1, 0.95, {"crack": 0.94, "no_crack": 0.96}, logits, outlier)
    return dataclasses.replace(found, **changes)


def measured(kind: Any, precision: Any, p50_ms: float, **changes: Any) -> Measured:
    name = "student.int8" if precision == "int8" else "student"
    file = f"{name}.{'onnx' if kind == 'onnx' else 'xml'}"
    artifact = Artifact(file, kind, precision, "0" * 64, 1000, 1.4, Thresholds(0.6, 2.5))
    return Measured(Candidate(artifact, {}), parity(**changes), p50_ms)


EXACT = measured("onnx", "fp32", 1.0, max_difference=1e-6)


def test_what_is_as_right_and_faster_is_kept_and_the_fastest_is_preferred() -> None:
    trials = judge([EXACT, measured("onnx", "int8", 0.7), measured("openvino", "int8", 0.5)], LABELS, plan())
    assert [trial.kept for trial in trials] == [True, True, True]
    assert trials[1].reason == "within 0.5 points, 30.0% less time than student.onnx"
    assert trials[2].reason == "within 0.5 points, 50.0% less time than student.onnx"
    assert preference(trials, "auto") == ["student.int8.xml", "student.int8.onnx", "student.onnx"]


@pytest.mark.parametrize(
    ("p50_ms", "changes", "reason"),
    [
        (0.96, {}, "takes 4.0% less time than student.onnx (5% less is needed)"),
        (1.3, {}, "takes 30.0% more time than student.onnx (5% less is needed)"),
        (0.5, {"accuracy": 0.944}, "loses 0.60 points of accuracy (0.5 are allowed)"),
        (0.5, {"recall": {"crack": 0.94, "no_crack": 0.945}}, "loses 1.50 points of no_crack (1 are allowed)"),
        (0.5, {"recall": {"crack": 0.89, "no_crack": 1.0}}, "finds 89.00% of crack (the card promises 90.00%)"),
        (0.5, {"worst_class": ("crack", 0.98)}, "worst class crack 98.00% (limit 99.0%)"),
        (0.5, {"logits": np.zeros((12, 2), np.float32)}, "has 12 held-out pictures to be judged on (100 are needed)"),
        (0.5, {"accuracy": None}, "held-out pictures to be judged on"),
    ],
)
def test_what_loses_or_is_not_faster_is_left_out_with_its_reason(
    p50_ms: float, changes: dict[str, Any], reason: str
) -> None:
    trials = judge([EXACT, measured("onnx", "int8", p50_ms, **changes)], LABELS, plan())
    assert [trial.kept for trial in trials] == [True, False]
    assert reason in trials[1].reason
    assert preference(trials, "auto") == ["student.onnx"]
    assert reason in "\n".join(table(trials))


def test_a_floor_that_the_float_file_does_not_keep_is_not_held_against_8_bits() -> None:
    low = {"crack": 0.89, "no_crack": 0.96}
    trials = judge(
        [measured("onnx", "fp32", 1.0, recall=low), measured("onnx", "int8", 0.5, recall=low)], LABELS, plan()
    )
    assert trials[1].kept


def test_a_hundred_held_out_pictures_are_enough() -> None:
    assert judge([EXACT, measured("onnx", "int8", 0.5, logits=np.zeros((100, 2), np.float32))], LABELS, plan())[1].kept


def test_a_second_file_that_is_slower_than_the_first_is_dead_weight() -> None:
    trials = judge([EXACT, measured("onnx", "int8", 0.6), measured("openvino", "int8", 0.7)], LABELS, plan())
    assert [trial.kept for trial in trials] == [True, True, False]
    assert trials[2].reason == "takes 16.7% more time than student.int8.onnx, which is kept"
    equal = judge([EXACT, measured("onnx", "int8", 0.6), measured("openvino", "int8", 0.6)], LABELS, plan())
    assert [trial.kept for trial in equal] == [True, True, False]


def test_exactly_the_allowed_loss_is_allowed() -> None:
    just = measured("onnx", "int8", 0.95, accuracy=0.945, recall={"crack": 0.93, "no_crack": 0.95})
    assert judge([EXACT, just], LABELS, plan())[1].kept


def test_forced_int8_is_kept_preferred_and_told() -> None:
    slow = measured("onnx", "int8", 1.5, accuracy=0.9)
    trials = judge([EXACT, slow], LABELS, plan("on"))
    assert trials[1].kept
    assert "forced by --int8 on, although it loses 5.00 points of accuracy" in trials[1].reason
    assert "takes 50.0% more time" in trials[1].reason
    assert preference(trials, "on") == ["student.int8.onnx", "student.onnx"]


def test_the_float_ir_gives_way_to_the_8_bit_one_and_stays_without_it() -> None:
    both = judge([EXACT, measured("openvino", "fp16", 0.8, max_difference=0.01),
                  measured("openvino", "int8", 0.5)], LABELS, plan())  # fmt: skip
    assert [trial.kept for trial in both] == [True, False, True]
    assert both[1].reason.startswith("openvino INT8 is kept in its place")
    alone = judge([EXACT, measured("openvino", "fp16", 0.8, max_difference=0.01),
                   measured("openvino", "int8", 0.5, accuracy=0.9)], LABELS, plan())  # fmt: skip
    assert [trial.kept for trial in alone] == [True, True, False]


def test_a_float_ir_that_differs_is_left_out() -> None:
    trials = judge([EXACT, measured("openvino", "fp16", 0.5, max_difference=0.2)], LABELS, plan())
    assert not trials[1].kept
    assert "max |Δlogit| 0.2 (limit 0.05)" in trials[1].reason


def test_engines_race_in_turns() -> None:
    turns: list[str] = []

    class Runner:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, batch: Any) -> None:
            assert batch.shape == (1, 8, 8, 3)
            turns.append(self.name)

    engines: Any = [Runner("a"), Runner("b")]
    times = race(engines, np.zeros((8, 8, 3), np.uint8))
    assert len(times) == 2
    assert turns[:24] == ["a"] * 8 + ["b"] * 8 + ["a"] * 8
    assert turns.count("a") == turns.count("b")


def test_a_slow_moment_of_the_machine_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, runs = [0.0], itertools.count()

    class Runner:
        def run(self, _: Any) -> None:
            now[0] += 0.003 if next(runs) < ROUNDS * BURST else 0.001  # the first series

    monkeypatch.setattr("kdlight_export.gate.time.perf_counter", lambda: now[0])
    engines: Any = [Runner()]
    assert race(engines, np.zeros((8, 8, 3), np.uint8)) == pytest.approx([1.0])


def test_a_file_that_answers_as_the_student_keeps_its_temperature_and_outlier_limit() -> None:
    temperature, thresholds = refit(parity(), parity(), TRUTH, 1.4, Thresholds(0.6, 2.5))
    assert temperature == pytest.approx(1.4)
    assert thresholds.outlier == pytest.approx(2.5)


def test_logits_and_distances_that_were_stretched_move_their_limits_alike() -> None:
    wide = parity(logits=parity().logits * 2, outlier=parity().outlier * 3)
    temperature, thresholds = refit(parity(), wide, TRUTH, 1.4, Thresholds(0.6, 2.5))
    same = refit(parity(), parity(), TRUTH, 1.4, Thresholds(0.6, 2.5))[1]
    assert temperature == pytest.approx(2.8, rel=1e-3)
    assert thresholds.outlier == pytest.approx(7.5)
    assert thresholds.accept == pytest.approx(same.accept, abs=1e-3)


def test_an_acceptance_threshold_is_the_files_own_where_one_can_be_proved_and_the_student_has_one() -> None:
    right = np.where(np.eye(2)[TRUTH] > 0, 3.0, -3.0).astype(np.float32)
    right[:6] *= -1
    right *= np.linspace(0.1, 1, 200, dtype=np.float32)[:, np.newaxis]  # the unsure ones are wrong
    sure, guess = parity(logits=right), parity(logits=-right)
    own = refit(sure, sure, TRUTH, 1.0, Thresholds(0.6, None))[1].accept
    assert 0.5 < own != 0.6
    assert refit(sure, guess, TRUTH, 1.0, Thresholds(0.6, None))[1].accept == 0.6
    assert refit(sure, sure, TRUTH, 1.0, Thresholds(0.0, None))[1].accept == 0.0


def test_where_no_picture_is_any_distance_away_the_outlier_limit_stays() -> None:
    near = parity(outlier=np.zeros(200, np.float32))
    assert refit(near, near, TRUTH, 1.4, Thresholds(0.6, 2.5))[1].outlier == 2.5


def test_too_few_pictures_move_nothing() -> None:
    known = Thresholds(0.6, None)
    assert refit(parity(), parity(), TRUTH[:50], 1.4, known) == (1.4, known)
