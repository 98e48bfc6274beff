"""A fleet's table with messages that no board of ours sends: each is counted, and the other boards are told as ever."""

import json
import time
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from kdlight_edge.fleet import Fleet, Known, row, table
from kdlight_edge.sinks.broker import broker_of

NOW = 1_800_000_000.0
STATUS = {"schema": "kdlight-edge/status/1", "state": "online"}
STATS = {"schema": "kdlight-edge/stats/1", "at": "2027-01-15T08:00:00.000Z", "every_s": 10.0, "fps": 30.0}


def fleet_of(*messages: tuple[str, bytes | Mapping[str, Any]]) -> Fleet:
    fleet = Fleet(broker_of("mqtt://127.0.0.1"))
    for topic, said in messages:
        message = paho.MQTTMessage(topic=topic.encode())
        message.payload = said if isinstance(said, bytes) else json.dumps(said).encode()
        message.retain = True
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


@pytest.mark.parametrize("said", ["1970-01-01T00:03:20.000Z", "2040-01-01T00:00:00.000Z"])
def test_a_clock_that_was_never_set_is_told_and_no_silence(said: str) -> None:
    (told,) = (rows := fleet_of(("kdlight/pi/status", STATUS), ("kdlight/pi/stats", {**STATS, "at": said})).rows(NOW))
    assert (told["state"], told["fps"], told["heard_s"], told["clock"]) == ("online", 30.0, None, said)
    assert f"its clock is wrong: {said[:16]}" in table(rows)


def kept(known: Known) -> Known:
    return Known(known.status, known.stats)


def test_figures_that_come_now_are_no_silence_whatever_the_clock_says() -> None:
    late = {**STATS, "at": "2027-01-15T07:00:00.000Z"}
    known = Known(STATUS, late, heard=time.monotonic())
    told = row("pi", known, NOW)
    assert (told["state"], told["clock"]) == ("online", late["at"])
    assert row("pi", kept(known), NOW)["state"] == "silent"
    assert row("pi", Known(STATUS, STATS, heard=time.monotonic()), NOW + 2)["clock"] is None
    assert row("pi", Known(STATUS, {**STATS, "at": "2040-01-01T00:00:00.000Z"}, 0.0), NOW)["state"] == "silent"


def test_a_broker_that_is_lost_is_told_and_what_it_knew_is_asked_anew_when_it_is_back() -> None:
    fleet = fleet_of(("kdlight/gone/status", STATUS))
    assert fleet.lost_s() is None
    fleet._client.on_disconnect(fleet._client, None, None, None, None)  # type: ignore[misc, call-arg, arg-type]
    assert (fleet.lost_s() or 0.0) >= 0.0
    assert fleet.lost_s() is not None
    assert [entry["device"] for entry in fleet.rows(NOW)] == ["gone"]
    fleet._on_connect(fleet._client, None, None, ReasonCode(PacketTypes.CONNACK), None)
    assert fleet.lost_s() is None
    assert fleet.rows(NOW) == []
