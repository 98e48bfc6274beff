"""A fleet's table with messages that no board of ours sends: each is counted, and the other boards are told as ever."""

import json
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as paho
import pytest

from kdlight_edge.fleet import Fleet, table
from kdlight_edge.sinks.broker import broker_of

NOW = 1_800_000_000.0
STATUS = {"schema": "kdlight-edge/status/1", "state": "online"}
STATS = {"schema": "kdlight-edge/stats/1", "at": "2027-01-15T08:00:00.000Z", "every_s": 10.0, "fps": 30.0}


def fleet_of(*messages: tuple[str, bytes | Mapping[str, Any]]) -> Fleet:
    fleet = Fleet(broker_of("mqtt://127.0.0.1"))
    for topic, said in messages:
        message = paho.MQTTMessage(topic=topic.encode())
        message.payload = said if isinstance(said, bytes) else json.dumps(said).encode()
        fleet._on_message(fleet._client, None, message)
    return fleet


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_s": "abc"}, {"every_s": -1}, {"bundle": "wall"}, {"bundle": {"name": [1]}}, {"fps": "x"}, {"fps": [1]},
        {"fps": float("nan")}, {"fps": float("inf")}, {"fps": 10**400}, {"fps": True}, {"rates": [1]},
        {"rates": {"outlier": "b"}, "usual": {"outlier": 0.1}, "recent": 9}, {"usual": {"outlier": 7.0}},
        {"recent": "x"}, {"recent": -4}, {"age_ms": 3}, {"age_ms": {"p99": "x"}}, {"celsius": "hot"}, {"lost": []},
        {"throttled": "no"}, {"at": 5}, {"at": "0001-01-01"}, {"engine": "\x1b[2J"}, {"engine": "x" * 300},
    ],
    ids=str,
)  # fmt: skip
def test_figures_of_another_shape_are_counted_and_no_table_ends_with_them(wrong: Mapping[str, Any]) -> None:
    fleet = fleet_of(
        ("kdlight/bad/status", STATUS), ("kdlight/bad/stats", {**STATS, **wrong}),
        ("kdlight/good/status", STATUS), ("kdlight/good/stats", STATS),
    )  # fmt: skip
    rows = fleet.rows(NOW)
    assert fleet.unreadable == 1
    assert [(entry["device"], entry["state"], entry["fps"]) for entry in rows] == [
        ("bad", "online", None), ("good", "online", 30.0),
    ]  # fmt: skip
    assert len(table(rows).splitlines()) == 3
    json.loads(json.dumps(rows, allow_nan=False))


@pytest.mark.parametrize(
    "payload",
    [b"[" * 100_000, b"\xff", b"null", b"[]", json.dumps({**STATUS, "state": "on\nline"}).encode(), b'{"schema": 1}'],
    ids=["nested", "no UTF-8", "null", "list", "two lines", "other"],
)
def test_a_status_of_another_shape_is_counted(payload: bytes) -> None:
    fleet = fleet_of(("kdlight/bad/status", payload), ("kdlight/good/status", STATUS))
    assert fleet.unreadable == 1
    assert [entry["device"] for entry in fleet.rows(NOW)] == ["good"]


def test_what_a_newer_version_adds_passes() -> None:
    (told,) = fleet_of(("kdlight/new/stats", {**STATS, "mood": {"good": [1]}})).rows(NOW)
    assert told["fps"] is None  # no status yet
    assert told["heard_s"] == 0.0
