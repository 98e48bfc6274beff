"""MQTT against a real broker that is stopped, frozen and started, and with kill -9 of the program that sends."""

import contextlib
import functools
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
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
from kdlight_edge.errors import UsageError
from kdlight_edge.events import Event
from kdlight_edge.events import to_record as event_record
from kdlight_edge.frame import Moment
from kdlight_edge.selftest.broker import Broker as PlainBroker
from kdlight_edge.sinks import mqtt as sending
from kdlight_edge.sinks.broker import broker_of, check_device
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
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, "allow_anonymous true\nmax_queued_messages 0\n") as made:
        yield made


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


def test_a_broker_that_refuses_is_told_once(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    broker.config.write_text(broker.config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    told: list[str] = []
    store = Store(tmp_path / "store.sqlite")
    mqtt = Mqtt(
        broker_of(broker.url.replace("//", "//user:secret@")), "wall", store, ORIGIN,
        stop=threading.Event(), linger=0.0, report=told.append,
    )  # fmt: skip
    until(lambda: bool(told))
    assert "refuses" in told[0]
    assert "secret" not in " ".join(told)
    mqtt.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops a refused socket unclosed
def test_behind_a_broker_that_was_away_a_wrong_password_is_told_too_and_once(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    broker.config.write_text(broker.config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    told: list[str] = []
    mqtt = Mqtt(
        broker_of(broker.url), "wall", Store(tmp_path / "store.sqlite"), ORIGIN, stop=threading.Event(),
        patience=Patience(first_wait=1, longest_wait=1), linger=0.0, report=told.append,
    )  # fmt: skip
    refusals = 0

    def count(*args: Any) -> None:
        nonlocal refusals
        refusals += 1
        mqtt._on_connect(*args)

    mqtt._client.on_connect = count
    until(lambda: bool(told))
    assert "cannot be reached: Connection refused" in told[0]
    broker.start()
    until(lambda: refusals == 3)
    assert [("refuses: Not authorized" in line) for line in told] == [False, True]
    mqtt.close()
    until(lambda: not any(thread.name.startswith(("paho", "mqtt")) for thread in threading.enumerate()))
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops a refused socket unclosed
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt install openssl")
def test_over_tls_a_broker_is_believed_only_with_a_certificate_that_is_trusted(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.stop()
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker"]
    files = ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, *files], check=True, capture_output=True)
    broker.config.write_text(f"{broker.config.read_text()}keyfile {key}\ncertfile {certificate}\n")
    broker.start()
    for trusted in (False, True):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        told: list[str] = []
        store = Store(tmp_path / f"{trusted}.sqlite")
        address = broker_of(broker.url.replace("mqtt:", "mqtts:"))
        mqtt = Mqtt(address, "wall", store, ORIGIN, stop=threading.Event(), linger=0.0, report=told.append)
        mqtt.write(prediction(0), None)
        until(functools.partial(_either, mqtt, told))
        assert mqtt.delivery().delivered == trusted
        mqtt.close()
        assert ("certificate verify failed" in "".join(told)) != trusted
    until(lambda: not any(thread.name.startswith(("paho", "mqtt")) for thread in threading.enumerate()))
    gc.collect()


def _either(mqtt: Mqtt, told: list[str]) -> bool:
    return bool(told) or mqtt.delivery().delivered == 1


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


@pytest.mark.parametrize(
    "url", ["127.0.0.1", "http://host", "mqtt://", "mqtt://h:0", "mqtt://h:99999", "mqtt://h/a+b", "mqtt://a..b"]
)
def test_what_is_no_address_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--mqtt is not the address of a broker"):
        broker_of(url)


def test_an_address_may_hold_user_port_and_prefix_and_the_password_may_come_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = broker_of("mqtts://u:p%40ss@host/site/7")
    assert (found.host, found.port, found.tls, found.user) == ("host", 8883, True, "u")
    assert found.password == "p@ss"  # noqa: S105 - an example
    assert found.prefix == "site/7"
    monkeypatch.setitem(os.environ, "KDLIGHT_MQTT_PASSWORD", "\udcff")
    with pytest.raises(UsageError, match="KDLIGHT_MQTT_PASSWORD is no text"):
        broker_of("mqtt://user@site")
    monkeypatch.setitem(os.environ, "KDLIGHT_MQTT_PASSWORD", "other\n")
    assert broker_of("mqtt://u@host").password == "other"  # noqa: S105 - an example
    assert "other" not in f"{found}{found!r}"


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#", ".x", "a b", "a\nb"])
def test_a_device_whose_name_cannot_be_in_a_topic_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--mqtt-device"):
        check_device(name)


def test_two_boards_of_one_name_are_told_that_they_are(broker: Broker, tmp_path: Path) -> None:
    told: list[str] = []
    boards = [
        Mqtt(
            broker_of(broker.url), "wall", Store(tmp_path / name, limit=1 << 20), ORIGIN, stop=threading.Event(),
            patience=Patience(first_wait=1, longest_wait=1), linger=0.0, report=told.append,
        )
        for name in ("one.sqlite", "two.sqlite")
    ]  # fmt: skip
    until(lambda: any("is another board called wall? Give each a --mqtt-device of its own" in line for line in told))
    until(lambda: all(board._short > 2 * sending.ROBBED for board in boards))
    assert sum("is back" in line for line in told) < 2 * sending.ROBBED  # and not for as long as they take turns
    for board in boards:
        board.close()


class Mute(PlainBroker):
    """Takes what is published and answers pings; acknowledges what is published only once it may."""

    may = False

    def _take(self, head: int, body: bytes) -> bytes:
        return super()._take(head, body) if self.may else b""


def test_a_broker_that_takes_results_and_acknowledges_none_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MUTE", 0.5)
    broker, told = Mute(), list[str]()
    store, where = Store(tmp_path / "box"), broker_of(f"mqtt://127.0.0.1:{broker.port}")
    mqtt = Mqtt(where, "wall", store, ORIGIN, stop=threading.Event(), linger=0.5, report=told.append)
    for index in range(30):
        mqtt.write(prediction(index), None)
    until(lambda: bool(told))
    time.sleep(1.0)
    assert told == [f"mqtt: {where} takes results and acknowledges none of them; they wait"]
    broker.may = True
    broker.stop()  # nothing acknowledges what was taken before, but a connection of its own
    broker.start()
    until(lambda: mqtt.delivery().delivered == 30)
    assert [line for line in told[1:] if "is back" not in line] == []
    mqtt.close()
    broker.stop()


def test_each_time_that_the_disk_refuses_results_and_takes_them_again_is_told(tmp_path: Path) -> None:
    store, told = Store(tmp_path / "box"), list[str]()
    where = broker_of("mqtt://127.0.0.1:1")
    mqtt = Mqtt(where, "wall", store, ORIGIN, stop=threading.Event(), linger=0.1, report=told.append)
    good = store._tail._handle
    full = os.open("/dev/full", os.O_WRONLY)
    for handle in (good, full, full, good, full, good):
        store._tail._handle = handle
        mqtt.write(prediction(0), None)
    os.close(full)
    mqtt.close()
    said = [line.partition("; ")[2] for line in told if "No space left" in line or "stored again" in line]
    lost = "results are lost until there is room"
    assert said == [lost, "2 were lost until now", lost, "3 were lost until now"]
