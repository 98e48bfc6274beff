"""What is told of a broker that refuses, is not believed or acknowledges nothing, and of a disk that is full: once."""

import functools
import gc
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.selftest.broker import Broker as PlainBroker
from kdlight_edge.sinks import mqtt as sending
from kdlight_edge.sinks.broker import broker_of
from kdlight_edge.sinks.mqtt import Mqtt
from kdlight_edge.sinks.store import Store
from kdlight_edge.sources import Patience
from tests.edge.fakes import prediction
from tests.edge.mosquitto import Broker, needs_broker
from tests.waiting import until

ORIGIN = {"engine": "fake", "bundle": {"name": "tiny"}}

pytestmark = needs_broker


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


def test_two_boards_of_one_name_are_told_that_they_are(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ROBBED", 2)  # each of their turns takes more than a second
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


class Halting(PlainBroker):
    """Acknowledges a status and no greeting, and keeps what it took, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.took: list[str] = []

    def _take(self, head: int, body: bytes) -> bytes:
        answer = super()._take(head, body)
        self.took.append("status" if b"wall/status" in body else "greeting")
        return answer if self.took[-1] == "status" else b""


def test_a_status_that_was_acknowledged_is_said_again_at_the_next_connection_also_beside_a_greeting_that_was_not(
    tmp_path: Path,
) -> None:
    broker = Halting()
    mqtt = Mqtt(
        broker_of(f"mqtt://127.0.0.1:{broker.port}"), "wall", Store(tmp_path / "box"), ORIGIN, stop=threading.Event(),
        greetings=[("home/wall", "hello")], patience=Patience(first_wait=1, longest_wait=1), linger=0.0,
        report=lambda _: None,
    )  # fmt: skip
    until(lambda: len(broker.took) == 2 and list(mqtt._said.values()) == ["home/wall"])
    broker.stop()  # who listens is told now that we are gone
    broker.start()
    until(lambda: sorted(broker.took[2:]) == ["greeting", "status"])
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
