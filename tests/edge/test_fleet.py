"""A fleet over a real broker: real boards' messages against the schemas, and the table."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.fleet import Known, drift, row, table
from kdlight_edge.frame import Moment
from kdlight_edge.sinks import home_assistant
from kdlight_edge.sinks.broker import broker_of
from kdlight_edge.sinks.desk import Desk, Message
from kdlight_edge.sinks.mqtt import Mqtt
from kdlight_edge.sinks.outbox import Delivery
from kdlight_edge.sinks.store import Store
from tests.edge.mosquitto import Broker, needs_broker
from tests.waiting import LIMIT, until

SCHEMAS = {
    file.stem: json.loads(file.read_text()) for file in (Path(__file__).parents[2] / "docs/schemas").glob("*.json")
}
NONE = Delivery("mqtt", 0, 0, {})
BUNDLE = {"name": "wall", "version": "1", "digest": "ab" * 32}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    with Broker(tmp_path) as made:
        yield made.port


class Ear:
    """Hears every message of a broker."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, list[dict[str, Any]]] = {}
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(LIMIT)

    def _hear(self, _client: Any, _data: Any, message: Any) -> None:
        self.heard.setdefault(message.topic, []).append(json.loads(message.payload))

    def close(self) -> None:
        """Let go of the broker."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def ear(broker: int) -> Iterator[Ear]:
    opened = Ear(broker)
    yield opened
    opened.close()


@pytest.fixture
def board(broker: int, tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Iterator["subprocess.Popen[bytes]"]:
    command = ["infer", "--source", "scene:crack?size=64x64&fps=50", "--model", str(tiny_bundle(accept=0.0)), "--json"]
    command += ["--mqtt", f"mqtt://127.0.0.1:{broker}", "--mqtt-device", "wall", "--mqtt-store", str(tmp_path / "box")]
    command += ["--event-hold", "0.2"]
    process = subprocess.Popen([sys.executable, "-m", "kdlight_edge.cli", *command], stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait(LIMIT)


@needs_broker
def test_every_message_of_a_real_board_is_as_its_schema_says(
    broker: int, ear: Ear, board: "subprocess.Popen[bytes]"
) -> None:
    until(lambda: {f"kdlight/wall/{last}" for last in ("result", "status", "stats", "event")} <= ear.heard.keys())
    for what in ("ping", "identify", "update"):
        main(["fleet", "ask", "wall", what, "--broker", f"127.0.0.1:{broker}"])
    board.kill()
    until(lambda: ear.heard["kdlight/wall/status"][-1]["state"] == "offline")  # the last will
    assert {topic.split("/")[-1] for topic in ear.heard} == set(SCHEMAS)
    for topic, messages in ear.heard.items():
        for message in messages:
            jsonschema.validate(message, SCHEMAS[topic.split("/")[-1]])
    states = [(answer["verb"], answer["state"]) for answer in ear.heard["kdlight/wall/answer"]]
    assert states == [("ping", "done"), ("identify", "done"), ("update", "refused")]


@needs_broker
def test_the_table_shows_a_board_alive_and_gone_and_the_exit_code_too(
    broker: int, ear: Ear, board: "subprocess.Popen[bytes]", capfd: pytest.CaptureFixture[str]
) -> None:
    until(lambda: "kdlight/wall/stats" in ear.heard)
    address = ["--broker", f"mqtt://127.0.0.1:{broker}"]
    assert main(["fleet", "status", *address]) == 0
    said = capfd.readouterr()
    assert "wall" in said.out
    assert "online" in said.out
    assert "tiny 1" in said.out
    assert "1 online under kdlight/" in said.err
    board.kill()
    until(lambda: ear.heard["kdlight/wall/status"][-1]["state"] == "offline")
    assert main(["fleet", "status", *address, "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    assert (told["device"], told["state"], told["fps"]) == ("wall", "offline", None)


@needs_broker
def test_an_empty_fleet_and_a_board_that_is_not_there_are_told(broker: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "status", "--broker", f"127.0.0.1:{broker}"]) == 1
    assert "no board has spoken under kdlight/" in capfd.readouterr().err
    assert main(["fleet", "status", "--json", "--broker", f"127.0.0.1:{broker}"]) == 1
    assert capfd.readouterr().out == ""
    assert main(["fleet", "ask", "none", "ping", "--broker", f"127.0.0.1:{broker}", "--wait", "0.3"]) == 6
    assert "none did not answer within 0.3 s" in capfd.readouterr().err


def test_a_broker_that_is_not_there_is_one_line_and_exit_code_6(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["status"], ["ask", "wall", "ping"]):
        assert main(["fleet", *words, "--broker", "127.0.0.1:9"]) == 6
        assert "cannot be reached" in capfd.readouterr().err
    assert main(["fleet", "status", "--broker", "http://x"]) == 2
    assert "--broker is not the address of a broker" in capfd.readouterr().err


@needs_broker
def test_home_assistant_is_told_of_a_board_and_finds_every_value_in_its_messages(
    broker: int, ear: Ear, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    command = ["infer", "--camera", "scene:crack?size=64x64&fps=50", "--model", str(tiny_bundle()), "--frames", "5"]
    command += ["--mqtt", f"mqtt://127.0.0.1:{broker}", "--mqtt-device", "wall.3", "--home-assistant"]
    assert main([*command, "--mqtt-store", str(tmp_path / "box")]) == 0
    until(lambda: "kdlight/wall.3/stats" in ear.heard)
    (said,) = ear.heard["homeassistant/device/kdlight_wall_3_8dbc80bf/config"]
    for sensor in said["components"].values():
        message: Any = ear.heard[sensor["state_topic"]][0]
        for key in re.findall(r"value_json\.([a-z_.0-9]+)", sensor["value_template"])[0].split("."):
            assert key in message
            message = message[key]
    assert said["availability"][0]["topic"] == "kdlight/wall.3/status"
    assert len({sensor["unique_id"] for sensor in said["components"].values()}) == len(said["components"])


def test_home_assistant_tells_boards_apart_whose_names_are_of_other_letters() -> None:
    names = ["wall-3", "wall_3", "wall.3", "東壁", "西壁"]
    told = [home_assistant.greeting(broker_of("mqtt://site"), name, {}) for name in names]
    assert len({where for where, _ in told}) == len(names)
    assert len({json.loads(text)["device"]["identifiers"][0] for _, text in told}) == len(names)
    assert told[0][0] == "homeassistant/device/kdlight_wall-3/config"


def test_home_assistant_without_a_broker_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--camera", "scene:crack", "--home-assistant"]) == 2
    assert "--home-assistant says nothing without --mqtt" in capfd.readouterr().err


@needs_broker
def test_a_fault_of_ours_while_sending_is_told_once_and_the_results_go_on(
    broker: int, ear: Ear, tmp_path: Path
) -> None:
    class Faulty(Desk):
        def due(self, delivery: Delivery) -> list[Message]:
            if not told:
                raise ZeroDivisionError("nobody thought of it")
            return super().due(delivery)

    told: list[str] = []
    address, stop = broker_of(f"mqtt://127.0.0.1:{broker}"), threading.Event()
    store, desk = Store(tmp_path / "box"), Faulty("wall", {})
    mqtt = Mqtt(address, "wall", store, {}, stop=stop, desk=desk, report=told.append)
    moment = Moment.now()
    mqtt.write(Prediction("cam", 0, moment, moment, "accepted", "", "ok", 0.9, (("ok", 0.9),), 0.1), None)
    until(lambda: "kdlight/wall/stats" in ear.heard and mqtt.delivery().waiting == 0)
    assert len(ear.heard["kdlight/wall/result"]) == 1
    assert told == ["mqtt: ZeroDivisionError: nobody thought of it; trying again"]
    mqtt.close()


def test_a_rate_that_chance_explains_is_no_drift_and_one_that_it_does_not_is() -> None:
    usual = {"outlier": 0.01, "abstained": None}
    assert drift({"outlier": 0.015, "abstained": 0.5}, usual, 1000) == []
    assert drift({"outlier": 0.05, "abstained": 0.5}, usual, 1000) == ["outlier 5% (usual 1%)"]
    assert drift({"outlier": 0.05}, usual, 0) == []
    assert drift({"abstained": 0.001}, {"abstained": 0.0}, 1000) == []
    assert drift({"abstained": 0.1}, {"abstained": 0.0}, 1000) == ["abstained 10% (usual 0%)"]


def test_a_board_that_says_nothing_any_more_is_silent_though_its_connection_stands() -> None:
    stats = {"at": "2026-01-01T00:00:00.000Z", "every_s": 10.0, "fps": 30.0, "bundle": BUNDLE}
    known = Known({"state": "online"}, stats)
    began = 1767225600.0
    assert row("wall", known, began + 29)["state"] == "online"
    late = row("wall", known, began + 31)
    assert (late["state"], late["fps"]) == ("silent", None)
    assert "no figures for 31 s" in table([late])


def test_a_board_of_which_only_the_status_is_known_has_a_row() -> None:
    assert "wall   offline" in table([row("wall", Known({"state": "offline"}), 0.0)])
