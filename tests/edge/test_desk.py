"""A board's desk: questions that are none, what an update by message needs, and the figures that it tells."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kdlight_edge.manifest import Artifact, Thresholds
from kdlight_edge.sinks.desk import ASKED, LONGEST, Desk
from kdlight_edge.sinks.outbox import Delivery

SCHEMAS = {
    name: json.loads((Path(__file__).parents[2] / f"docs/schemas/{name}.json").read_text())
    for name in ("answer", "stats")
}
NONE = Delivery("mqtt", 0, 0, {})
BUNDLE = {"name": "wall", "version": "1", "digest": "ab" * 32}


def asked(verb: object, **more: object) -> bytes:
    return json.dumps({"schema": "kdlight-edge/command/1", "id": "q", "verb": verb, **more}).encode()


def answers(desk: Desk) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in desk.due(NONE) if message.last == "answer"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"7",
        b'{"verb": "ping"}',
        asked("reboot"),
        asked(["ping"]),
        asked("ping", schema="x"),
        b"[" * LONGEST,
        b'{"a":' * (LONGEST // 5),
        asked("ping", more="x" * LONGEST),
        b"[" * 1_000_000,
    ],
)
def test_what_is_no_question_is_refused_and_never_breaks_the_board(payload: bytes) -> None:
    desk = Desk("wall", {})
    desk.ask(payload)
    (answer,) = answers(desk)
    assert answer["state"] == "refused"
    jsonschema.validate(answer, SCHEMAS["answer"])


def test_questions_without_end_fill_no_memory() -> None:
    desk = Desk("wall", {})
    for _ in range(1000):
        desk.ask(asked("ping"))
    assert len(answers(desk)) == ASKED


def test_an_update_by_message_needs_leave_and_a_service_and_leaves_a_word_for_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    told: list[str] = []
    for update, reason in ((False, "--mqtt-update allows it"), (True, "this is no service")):
        desk = Desk("wall", {}, update=update, report=told.append)
        desk.ask(asked("update", url="http://evil"))
        (answer,) = answers(desk)
        assert answer["state"] == "refused"
        assert reason in answer["reason"]
    assert told == []
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    desk = Desk("wall", {}, update=True, report=told.append)
    desk.ask(asked("update"))
    assert [answer["state"] for answer in answers(desk)] == ["begun"]
    assert (tmp_path / "update/asked").read_bytes() == b""
    assert told == ["mqtt: an update was asked for"]


def test_figures_come_at_their_time_and_say_what_is_usual() -> None:
    artifact = Artifact("m", "onnx", "fp32", "", 0, 1.0, Thresholds(0.0, 2.0))
    desk = Desk("wall", {"bundle": BUNDLE, "engine": "onnxruntime"}, artifact)
    (message,) = desk.due(NONE)
    assert (message.last, message.retain) == ("stats", True)
    said = json.loads(message.text)
    jsonschema.validate(said, SCHEMAS["stats"])
    assert said["usual"] == {"abstained": 0.0, "outlier": 0.01}
    assert desk.due(NONE) == []


@pytest.mark.parametrize(
    ("usual", "own_conf", "said"),
    [
        ({"abstained": 0.031, "outlier": 0.012}, False, {"abstained": 0.031, "outlier": 0.012}),
        ({"abstained": 0.031, "outlier": 0.012}, True, {"abstained": None, "outlier": 0.012}),
        ({}, False, {"abstained": None, "outlier": 0.01}),
    ],
)
def test_what_is_usual_is_what_the_bundle_says(
    usual: dict[str, float],
    own_conf: bool,  # noqa: FBT001 - a parameter of a test
    said: dict[str, float | None],
) -> None:
    artifact = Artifact("m", "onnx", "fp32", "", 0, 1.0, Thresholds(0.8, 2.0), usual=usual)
    (message,) = Desk("wall", {"bundle": BUNDLE, "engine": "onnxruntime"}, artifact, own_conf=own_conf).due(NONE)
    stats = json.loads(message.text)
    jsonschema.validate(stats, SCHEMAS["stats"])
    assert stats["usual"] == said
