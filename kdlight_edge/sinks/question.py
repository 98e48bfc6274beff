"""One question to one board over MQTT, and its answer."""

import contextlib
import json
import queue
import secrets
from typing import Any

import paho.mqtt.client as paho

from kdlight_edge.errors import SourceError
from kdlight_edge.sinks.broker import Broker, topic
from kdlight_edge.sinks.client import client_of


class Question:
    """Asks once it is connected and listens for the answer with its own ``id``."""

    def __init__(self, broker: Broker, device: str, what: str) -> None:
        """Take where, whom and what."""
        self._broker, self._device = broker, device
        self._asked = {"schema": "kdlight-edge/command/1", "id": secrets.token_hex(8), "verb": what}
        self._answers: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
        self._client = client_of(broker)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.on_subscribe = self._on_subscribe

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._answers.put(f"refuses: {reason}")
        else:
            client.subscribe(topic(self._broker, self._device, "answer"), qos=1)

    def _on_subscribe(self, client: paho.Client, *_: Any) -> None:
        client.publish(topic(self._broker, self._device, "command"), json.dumps(self._asked), qos=1)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, or nested deeper than Python reads
            said = json.loads(message.payload)
            if isinstance(said, dict) and said.get("id") == self._asked["id"]:
                self._answers.put(said)

    def answer(self, wait: float) -> dict[str, Any] | str:
        """Return the answer, or why the broker let us not ask.

        Raises:
            OSError: the broker is not there.
            queue.Empty: nobody answers within ``wait`` seconds.
        """
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        try:
            return self._answers.get(timeout=wait)
        finally:
            self._client.disconnect()
            self._client.loop_stop()


def ask(broker: Broker, device: str, what: str, wait: float) -> dict[str, Any]:
    """Return a board's answer.

    Raises:
        SourceError: the broker is not there or refuses, or nobody answers within ``wait`` seconds.
    """
    try:
        answer = Question(broker, device, what).answer(wait)
    except OSError as error:
        raise SourceError(f"the broker {broker} cannot be reached: {error.strerror or error}") from error
    except queue.Empty:
        hint = "kdlight-edge fleet status tells who is there"
        raise SourceError(f"{device} did not answer within {wait:g} s; {hint}") from None
    if isinstance(answer, str):
        raise SourceError(f"the broker {broker} {answer}")
    return answer
