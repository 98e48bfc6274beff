"""Logits become a decision in one order of reasons, and a record says all of it."""

import dataclasses
import json
import math
import time

import numpy as np
import pytest

from kdlight_edge.decide import Settings, decide, failed, softmax, to_record, utc
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.manifest import Artifact, Card, Golden, Input, Label, Manifest, Provenance, Thresholds

ARTIFACT = Artifact("m.onnx", "onnx", "fp32", "0" * 64, 1, 1.0, Thresholds(0.8, 3.0))
MANIFEST = Manifest(
    1, "wall", "1", "small", 1, 1,
    (Label("crack", "Crack", positive=True), Label("none", "No crack"), Label("stain", "Stain")),
    Input(8, 8), (ARTIFACT,), Golden((1,), 0.1, {"m.onnx": ((0.0, 0.0, 0.0),)}),
    Provenance("t", "kl", {}, {}, {}, "2026-01-01", {}), Card("a", "b", "c"),
)  # fmt: skip


def frame(age: float = 0.0) -> Frame:
    captured = Moment(1_700_000_000.25, time.monotonic() - age)
    return Frame(np.zeros((2, 2, 3), np.uint8), captured, "wall.jpg", 7, 2)


def logits(*probabilities: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.log(np.array(probabilities, np.float32))


def test_a_class_that_must_not_be_missed_is_the_answer_from_its_own_threshold_on() -> None:
    careful = dataclasses.replace(ARTIFACT, thresholds=Thresholds(0.8, 3.0, {"crack": 0.2, "stain": 0.25}))
    for chances, label, decision in (
        ((0.3, 0.65, 0.05), "crack", "accepted"),
        ((0.1, 0.88, 0.02), "none", "accepted"),
        ((0.19, 0.7, 0.11), "none", "abstained"),
        ((0.3, 0.3, 0.4), "stain", "accepted"),  # 1.6 times its threshold, where the crack has 1.5
    ):
        found = decide(frame(), logits(*chances), 1.0, MANIFEST, careful, Settings(topk=3))
        assert (found.label, found.decision) == (label, decision)
        assert found.probability == pytest.approx(dict(found.top)[label])
        assert found.top[0][0] == label
    just = dataclasses.replace(ARTIFACT, thresholds=Thresholds(0.8, 3.0, {"stain": 1 / 3}))
    assert decide(frame(), logits(1, 1, 1), 1.0, MANIFEST, just, Settings()).label == "stain"
    assert decide(frame(), logits(0.3, 0.65, 0.05), 9.0, MANIFEST, careful, Settings()).decision == "outlier"
    by_hand = decide(frame(), logits(0.3, 0.65, 0.05), 1.0, MANIFEST, careful, Settings(conf=0.6))
    assert (by_hand.label, by_hand.decision) == ("none", "accepted")


def test_probabilities_are_those_of_softmax_at_the_temperature_of_the_file() -> None:
    rng, warm = np.random.default_rng(3), dataclasses.replace(ARTIFACT, temperature=1.7)
    for row in rng.normal(0, 6, (50, 3)).astype(np.float32):
        found = dict(decide(frame(), row, 1.0, MANIFEST, warm, Settings(topk=3)).top)
        wanted = softmax(row, warm.temperature)
        assert [found[label.id] for label in MANIFEST.labels] == pytest.approx(wanted.tolist(), rel=1e-14)


def test_softmax_survives_large_logits_and_sums_to_one() -> None:
    rows = softmax(np.array([[1e4, 0, -1e4], [1, 1, 1]], np.float32), 1.0)
    assert rows[0].tolist() == [1.0, 0.0, 0.0]
    assert rows[1].tolist() == pytest.approx([1 / 3] * 3)


def test_a_temperature_above_one_makes_the_answer_less_sure() -> None:
    cold = softmax(np.array([2.0, 0.0], np.float32), 1.0)[0]
    warm = softmax(np.array([2.0, 0.0], np.float32), 2.0)[0]
    assert cold == pytest.approx(1 / (1 + math.exp(-2)))
    assert warm == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize(
    ("probabilities", "outlier", "age", "settings", "decision", "reason"),
    [
        ((0.9, 0.08, 0.02), 1.0, 0, Settings(), "accepted", ""),
        ((0.9, 0.08, 0.02), 3.0, 0, Settings(), "accepted", ""),
        ((1 / 3, 1 / 3, 1 / 3), 1.0, 0, Settings(conf=1 / 3), "accepted", ""),
        ((0.7, 0.2, 0.1), 1.0, 0, Settings(), "abstained", "probability 0.700 is below 0.800"),
        ((0.7, 0.2, 0.1), 1.0, 0, Settings(conf=0.5), "accepted", ""),
        ((0.9, 0.08, 0.02), 1.0, 0, Settings(conf=0.95), "abstained", "probability 0.900 is below 0.950"),
        ((0.9, 0.08, 0.02), 3.5, 0, Settings(), "outlier", "unlike the training pictures: distance 3.5 is above 3"),
        ((0.5, 0.3, 0.2), 3.5, 0, Settings(), "outlier", "unlike the training pictures: distance 3.5 is above 3"),
        ((0.9, 0.08, 0.02), 3.5, 9, Settings(max_age=2), "stale", "the frame is 9.00 s old, more than 2 s"),
        ((0.9, 0.08, 0.02), 1.0, 9, Settings(), "accepted", ""),
    ],
)
def test_the_first_reason_that_holds_decides(
    probabilities: tuple[float, ...], outlier: float, age: float, settings: Settings, decision: str, reason: str
) -> None:
    seen = decide(frame(age), logits(*probabilities), outlier, MANIFEST, ARTIFACT, settings)
    assert (seen.decision, seen.reason) == (decision, reason)
    assert seen.label == "crack"
    assert seen.probability == pytest.approx(probabilities[0], abs=1e-5)


@pytest.mark.parametrize(
    ("chance", "outlier", "age", "decision", "reason"),
    [
        (0.9, 1.0, 0, "abstained", "dark"),
        (0.7, 1.0, 0, "abstained", "dark"),
        (0.9, 3.5, 0, "abstained", "dark"),
        (0.9, 1.0, 9, "stale", "the frame is 9.00 s old, more than 2 s"),
    ],
)
def test_what_cannot_be_seen_is_the_reason_before_all_but_age(
    chance: float, outlier: float, age: float, decision: str, reason: str
) -> None:
    row = logits(chance, 0.95 - chance, 0.05)
    seen = decide(frame(age), row, outlier, MANIFEST, ARTIFACT, Settings(max_age=2), unfit="dark")
    assert (seen.decision, seen.reason) == (decision, reason)


@pytest.mark.parametrize(
    ("values", "outlier"),
    [
        ((math.nan, 0.0, 0.0), 1.0),
        ((math.inf, 0.0, 0.0), 1.0),
        ((1.0, 0.0, 0.0), math.nan),
        ((1.0, 0.0, 0.0), math.inf),
    ],
)
def test_numbers_that_are_not_finite_are_an_error_and_never_accepted(values: tuple[float, ...], outlier: float) -> None:
    seen = decide(frame(), np.array(values, np.float32), outlier, MANIFEST, ARTIFACT, Settings())
    assert seen.decision == "error"
    assert "not finite" in seen.reason
    assert seen.label is None
    json.dumps(to_record(seen, {}), allow_nan=False)


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (1, 1), (2, 2), (9, 3)])
def test_top_k_holds_at_least_one_and_at_most_all_labels(asked: int, given: int) -> None:
    seen = decide(frame(), logits(0.2, 0.5, 0.3), 0, MANIFEST, ARTIFACT, Settings(topk=asked))
    assert [label for label, _ in seen.top] == ["none", "stain", "crack"][:given]


def test_equal_probabilities_keep_the_order_of_the_labels() -> None:
    seen = decide(frame(), logits(0.4, 0.2, 0.4), 0, MANIFEST, ARTIFACT, Settings(topk=3))
    assert [label for label, _ in seen.top] == ["crack", "stain", "none"]


def test_a_record_is_plain_json_and_says_where_it_comes_from() -> None:
    seen = decide(frame(), logits(0.9, 0.06, 0.04), 1.23456, MANIFEST, ARTIFACT, Settings(topk=2), {"infer": 1.23456})
    record = json.loads(json.dumps(to_record(seen, {"engine": "onnxruntime"}), allow_nan=False))
    assert record["schema"] == "kdlight-edge/prediction/1"
    assert (record["source"], record["index"], record["dropped"]) == ("wall.jpg", 7, 2)
    assert record["captured"] == "2023-11-14T22:13:20.250Z"
    assert record["age_ms"] >= 0
    assert record["top"][1]["label"] == "none"
    assert record["outlier"] == 1.2346
    assert record["milliseconds"] == {"infer": 1.235}
    assert record["engine"] == "onnxruntime"


def test_a_picture_that_could_not_be_read_has_a_record_of_its_own() -> None:
    bad = Unreadable("empty file (0 bytes)", Moment.now(), "broken.jpg", 4)
    record = to_record(failed(bad), {})
    assert (record["decision"], record["reason"]) == ("error", "empty file (0 bytes)")
    assert (record["label"], record["probability"], record["top"]) == (None, None, [])
    assert (record["source"], record["index"]) == ("broken.jpg", 4)


def test_time_is_written_in_utc_with_milliseconds() -> None:
    assert utc(Moment(0.0015, 0)) == "1970-01-01T00:00:00.001Z"
    assert utc(Moment(1.9999997, 0)) == "1970-01-01T00:00:02.000Z"
