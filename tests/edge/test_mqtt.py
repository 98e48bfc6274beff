"""MQTT against a real broker that is stopped, frozen and started, and with kill -9 of the program that sends."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from kdlight_edge.cli import main
from kdlight_edge.decide import to_record
from kdlight_edge.events import Event
from kdlight_edge.events import to_record as event_record
from kdlight_edge.frame import Moment
from kdlight_edge.sinks.broker import broker_of
from kdlight_edge.sinks.mqtt import Mqtt
from kdlight_edge.sinks.spare import open_store
from kdlight_edge.sinks.store import Store
from kdlight_edge.sources import Patience
from tests.edge.fakes import prediction
from tests.edge.mosquitto import Broker, needs_broker
from tests.waiting import LIMIT, until

ORIGIN = {"engine": "fake", "bundle": {"name": "tiny"}}

pytestmark = needs_broker


class Listener:
    """A subscriber with a session that the broker keeps while it is away."""

    def __init__(self, broker: Broker) -> None:
        self.results: list[dict[str, Any]] = []
        self.states: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe("kdlight/#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(LIMIT)

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic.endswith("/status"):
            self.states.append(content["state"])
        elif message.topic.endswith("/result"):
            self.results.append(content)
        elif message.topic.endswith("/event"):
            self.events.append(content)

    def once(self) -> list[dict[str, Any]]:
        """Return the results as one who knows the ids that it has seen."""
        return list({result["id"]: result for result in reversed(self.results)}.values())[::-1]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    made = Listener(broker)
    yield made
    made.close()


@pytest.fixture
def sender(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Mqtt]]:
    made: list[Mqtt] = []

    def make(**keywords: Any) -> Mqtt:
        keywords.setdefault("report", lambda _: None)
        store = Store(tmp_path / "store.sqlite", limit=keywords.pop("limit", 1 << 20))
        patience = Patience(first_wait=1, longest_wait=1)
        made.append(
            Mqtt(broker_of(broker.url), "wall", store, ORIGIN, stop=threading.Event(), patience=patience, **keywords)
        )
        return made[-1]

    yield make
    for mqtt in made:
        mqtt.close()


def test_results_arrive_in_order_each_with_an_id_and_the_device(
    sender: Callable[..., Mqtt], listener: Listener
) -> None:
    mqtt = sender()
    for index in range(100):
        mqtt.write(prediction(index), None)
    mqtt.close()
    until(lambda: len(listener.results) == 100)
    assert [result["index"] for result in listener.results] == list(range(100))
    assert len({result["id"] for result in listener.results}) == 100
    assert {result["device"] for result in listener.results} == {"wall"}
    assert listener.results[0]["schema"] == "kdlight-edge/prediction/1"
    assert mqtt.delivery().delivered == 100
    assert mqtt.delivery().waiting == 0


def test_the_status_is_kept_by_the_broker_and_says_online_then_offline(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    mqtt = sender()
    until(lambda: listener.states == ["online"])
    mqtt.close()
    until(lambda: listener.states == ["online", "offline"])
    listener.close()
    late = Listener(broker)
    until(lambda: late.states == ["offline"])
    late.close()


def test_a_broker_stopped_and_started_gets_every_result_once_in_order(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    told: list[str] = []
    mqtt = sender(report=told.append)
    index = 0
    for _ in range(2):
        for _ in range(150):  # what is on its way when the broker goes is the hard part: do not wait for it
            mqtt.write(prediction(index), None)
            index += 1
        broker.stop()
        for _ in range(50):
            mqtt.write(prediction(index), None)
            index += 1
        assert mqtt.delivery().waiting >= 50
        broker.start()
        until(lambda: mqtt.delivery().waiting == 0)
    until(lambda: len(listener.once()) == index)
    assert [result["index"] for result in listener.once()] == list(range(index))
    assert f"mqtt: {broker.url} lost: the connection broke; trying again, results wait" in told
    assert any("is back" in line for line in told)


def test_what_waited_in_memory_keeps_its_ids_on_the_disk_also_where_it_is_brought_there_twice(
    sender: Callable[..., Mqtt], listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    spare = Store(tmp_path / "spare-store.sqlite")
    for index in range(3):
        spare.put(json.dumps(to_record(prediction(index), ORIGIN)))
    spare.put(json.dumps(event_record(Event("cam", "crack", Moment.now(), Moment.now(), 2, 0.9, "held"))))
    spare.close()
    left = {path: path.read_bytes() for path in tmp_path.glob("spare-*")}
    for _ in range(2):  # killed before it had taken them out of the memory
        for path, content in left.items():
            path.write_bytes(content)
        open_store(tmp_path / "store.sqlite", live=True).close()
    mqtt = sender()
    mqtt.write(prediction(3), None)
    until(lambda: len(listener.once()) == 4 and bool(listener.events))
    ids = {result["index"]: result["id"] for result in listener.once()}
    assert [ids[index] for index in range(3)] == [f"{spare.name}-{number}" for number in (1, 2, 3)]
    assert ids[3].rpartition("-")[0] not in {spare.name, ""}
    assert {event["id"] for event in listener.events} == {f"{spare.name}-4"}
    assert all(result["schema"] == "kdlight-edge/prediction/1" for result in listener.results)


def test_what_waits_on_a_disk_that_turns_read_only_is_sent_and_results_go_on(
    broker: Broker, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    told: list[str] = []
    store = Store(tmp_path / "store.sqlite")
    for index in range(100):
        store.put(json.dumps(to_record(prediction(index), ORIGIN)))
    store.tidy()
    store._data.execute("PRAGMA query_only = ON")
    mqtt = Mqtt(broker_of(broker.url), "wall", store, ORIGIN, stop=threading.Event(), report=told.append)
    for index in range(100, 200):
        mqtt.write(prediction(index), None)
    until(lambda: len(listener.results) >= 200)
    until(lambda: mqtt.delivery().waiting == 0)
    mqtt.close()
    assert [result["index"] for result in listener.results] == list(range(200))
    assert len(told) == 1
    assert "readonly database; trying again" in told[0]


def test_a_broker_that_breaks_off_before_it_acknowledges_is_told_of_us_once_at_each_connection(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        for _ in range(4):
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK
                said = b""
                while b"wall/status" not in said and (more := connection.recv(4096)):
                    said += more
                connection.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    while more := connection.recv(4096):
                        said += more
                heard.append(said)

    threading.Thread(target=serve, daemon=True).start()
    where = broker_of(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
    mqtt = Mqtt(
        where, "wall", Store(tmp_path / "store.sqlite"), ORIGIN, stop=threading.Event(), linger=0.0,
        greetings=[("home/wall", "hello")], patience=Patience(first_wait=1, longest_wait=1), report=lambda _: None,
    )  # fmt: skip
    until(lambda: len(heard) == 4)
    mqtt.close()
    listener.close()
    assert [(said.count(b"wall/status"), said.count(b"home/wall")) for said in heard] == [(1, 1)] * 4


def test_a_frozen_broker_does_not_hold_up_the_writer(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    mqtt = sender()
    until(lambda: listener.states == ["online"])
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    for index in range(200):
        mqtt.write(prediction(index), None)
    assert mqtt.delivery().waiting == 200
    broker.process.send_signal(signal.SIGCONT)
    until(lambda: len(listener.results) == 200)
    assert [result["index"] for result in listener.results] == list(range(200))


def test_events_wait_between_the_results_while_the_broker_is_away(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    mqtt = sender()
    mqtt.write(prediction(0), None)
    until(lambda: len(listener.results) == 1 and mqtt.delivery().waiting == 0)
    broker.stop()
    began = Moment.now()
    for index, state in ((1, "held"), (2, "ended")):
        mqtt.tell(Event("cam", "crack", began, Moment.now(), index, 0.9, state))
        mqtt.write(prediction(index), None)
    assert mqtt.delivery().waiting == 4
    broker.start()
    until(lambda: len(listener.once()) == 3)
    numbers = [int(said["id"].rpartition("-")[2]) for said in (*listener.events, *listener.once())]
    assert numbers == [2, 4, 1, 3, 5]
    assert [(event["state"], event["frames"], event["device"]) for event in listener.events] == [
        ("held", 1, "wall"), ("ended", 2, "wall"),
    ]  # fmt: skip


def test_what_waits_at_the_end_of_a_run_is_sent_by_the_next(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    told: list[str] = []
    broker.stop()
    first = sender(report=told.append, linger=0.0)
    for index in range(30):
        first.write(prediction(index), None)
    first.close()
    assert "30 results wait in" in told[-1]
    broker.start()
    second = sender()
    second.write(prediction(30), None)
    until(lambda: len(listener.results) == 31)
    assert [result["index"] for result in listener.results] == list(range(31))


def test_a_store_that_is_full_gives_up_the_oldest_and_says_so(
    sender: Callable[..., Mqtt], listener: Listener, broker: Broker
) -> None:
    told: list[str] = []
    broker.stop()
    mqtt = sender(report=told.append, limit=20_000)
    for index in range(200):
        mqtt.write(prediction(index), None)
    full = mqtt.delivery().dropped["full"]
    assert full > 100
    broker.start()
    until(lambda: len(listener.once()) == 200 - full)
    assert [result["index"] for result in listener.once()] == list(range(full, 200))
    mqtt.close()
    assert f"{full} results are lost" in told[-1]


def run_infer(bundle: Path, broker: Broker, store: Path, *more: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "scene:crack?size=64x64&fps=200", "--json",
        "--model", str(bundle), "--mqtt", broker.url, "--mqtt-device", "wall", "--mqtt-store", str(store), *more,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_kill_9_of_the_program_loses_nothing_that_it_has_told(
    tiny_bundle: Callable[..., Path], listener: Listener, broker: Broker, tmp_path: Path
) -> None:
    bundle, told = tiny_bundle(), list[tuple[str, int]]()
    for lines in (5, 60, 150):
        with run_infer(bundle, broker, tmp_path / "store.sqlite") as child:
            assert child.stdout is not None
            seen = [child.stdout.readline() for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
            seen += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        told += [(record["captured"], record["index"]) for record in map(json.loads, seen)]
        until(lambda: listener.states[-1:] == ["offline"])  # the last will
        listener.states.clear()
    with run_infer(bundle, broker, tmp_path / "store.sqlite", "--frames", "3") as last:
        assert last.wait(LIMIT) == 0
        assert last.stdout is not None
        told += [(record["captured"], record["index"]) for record in map(json.loads, last.stdout)]
    numbers = [int(result["id"].rpartition("-")[2]) for result in listener.once()]
    assert numbers == list(range(1, len(numbers) + 1))
    arrived = [(result["captured"], result["index"]) for result in listener.once()]
    assert len(set(arrived)) == len(arrived)
    assert set(told) <= set(arrived)
    assert len(told) > 200


def test_a_folder_run_delivers_all_before_it_ends(
    tiny_bundle: Callable[..., Path], listener: Listener, broker: Broker, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [
        "infer",
        "--camera",
        "scene:crack?size=64x64&fps=100&frames=40",
        "--model",
        str(tiny_bundle()),
        "--json",
    ]
    store = ["--mqtt", broker.url, "--mqtt-device", "wall", "--mqtt-store", str(tmp_path / "s" / "store.sqlite")]
    assert main([*arguments, *store]) == 0
    said = [json.loads(line)["index"] for line in capfd.readouterr().out.splitlines()]
    until(lambda: len(listener.results) == len(said))
    assert [result["index"] for result in listener.results] == said


def test_what_waits_in_the_store_at_the_end_of_a_folder_is_not_lost(
    tiny_bundle: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes())
    run = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--mqtt", "mqtt://127.0.0.1:1"]
    assert main([*run, "--mqtt-device", "wall", "--mqtt-store", str(tmp_path / "store.sqlite")]) == 0
    assert "mqtt: 1 results wait in" in capfd.readouterr().err
