"""Predictions to an MQTT broker, by way of a queue on the disk: none is lost while the broker is away."""

import contextlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paho.mqtt.client as paho

from kdlight_edge.decide import Prediction, to_record, utc
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import SCHEMA as EVENT
from kdlight_edge.events import Event
from kdlight_edge.events import to_record as event_record
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.sinks.broker import Broker, topic
from kdlight_edge.sinks.client import client_of
from kdlight_edge.sinks.desk import Desk
from kdlight_edge.sinks.outbox import HURRY, PATIENCE, Delivery
from kdlight_edge.sinks.store import Store
from kdlight_edge.sources import Patience, tell
from kdlight_edge.trouble import Trouble

STATUS = "kdlight-edge/status/1"

_EVENT = json.dumps({"schema": EVENT})[1:-1]
"""What an event begins with behind its brace, and no result."""

WINDOW = 20
"""Results on their way at once without the broker's acknowledgement."""

KEEPALIVE = 15
"""Seconds of silence after which the broker is asked; after half as many again it tells the world that we are gone."""

MUTE = 30.0
"""Seconds without one acknowledgement of what is on its way after which a broker that is there is told to be no use."""

SHORT = 5.0
"""Seconds: a connection that the other side breaks sooner is a short one."""

ROBBED = 3
"""Short connections in a row after which it is likely that somebody else has our name: a broker takes the newer one."""

TICK = 0.2
"""Seconds between two looks at what was acknowledged, and at what has waited for so long that it goes to the disk."""


class Mqtt:
    """Puts each prediction into the store, and sends from there with QoS 1 in order, from a thread of its own.

    A text leaves the store once the broker has acknowledged it (PUBACK). What the broker had when a connection or this
    process broke, and could not acknowledge, is sent again under the same ``id``: a receiver that knows the ids it has
    seen gets each result once.
    """

    wants_frames = False

    def __init__(
        self,
        broker: Broker,
        device: str,
        store: Store,
        origin: Mapping[str, Any],
        *,
        stop: threading.Event,
        desk: Desk | None = None,
        greetings: Sequence[tuple[str, str]] = (),
        patience: Patience | None = None,
        linger: float = PATIENCE,
        report: Callable[[str], None] = tell,
    ) -> None:
        """Begin to connect; a broker that is away is waited for, for ever.

        Args:
            broker: where.
            device: the name under which this device speaks.
            store: is closed with this sink.
            origin: what is the same for every prediction (`Classifier.origin`).
            stop: once set, the end of the run waits `HURRY` and not ``linger``.
            desk: tells figures and answers commands; None for neither.
            greetings: topics and texts that the broker shall keep, told at each connection.
            patience: with a broker that is away.
            linger: seconds that the end of a run waits while nothing is acknowledged.
            report: takes a line for people when the broker is lost, back, or refuses.
        """
        self._broker, self._device, self._store, self._origin = broker, device, store, origin
        self._stop, self._linger, self._report = stop, linger, report
        self._desk, self._greetings = desk, greetings
        self._wake, self._ended = threading.Event(), threading.Event()
        self._online = self._announced = self._resending = self._refusing = False
        self._trouble = Trouble(lambda line: report(f"mqtt: {line}"))
        self._connected, self._short = 0.0, 0
        self._flying: dict[int, int] = {}
        """Paho's message number to the store's, of what was sent and not acknowledged."""
        self._said: dict[int, str] = {}
        """Paho's message number to the topic, of what was said of us and not acknowledged: paho says it again."""
        self._acknowledged: deque[int] = deque()
        self._done: list[int] = []
        """Acknowledged, and not taken out of the store yet."""
        self._sent = self._delivered = self._refused = 0
        self._moved = self._taken = time.monotonic()
        self._client = self._connect(patience or Patience())
        self._thread = threading.Thread(target=self._forward, name="mqtt", daemon=True)
        self._thread.start()

    def _connect(self, patience: Patience) -> paho.Client:
        client = client_of(self._broker, f"kdlight-{self._device}")
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message = self._on_message
        client.on_connect_fail, client.on_publish = self._on_connect_fail, self._on_publish
        client.max_inflight_messages_set(WINDOW + 1)  # and one for the status
        client.reconnect_delay_set(max(1, round(patience.first_wait)), max(1, round(patience.longest_wait)))
        will = self._status("offline", "the connection broke", since=None)  # nobody knows yet when that will be
        client.will_set(self._topic("status"), will, qos=1, retain=True)
        client.connect_async(self._broker.host, self._broker.port, keepalive=KEEPALIVE)
        client.loop_start()
        return client

    # Called by paho's thread, some of it with paho's locks held: these only note and wake.

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._trouble.tell(f"{self._broker} refuses: {reason}; trying again, results wait")
            return
        self._connected = self._moved = time.monotonic()
        if self._short < ROBBED:  # else once it has held: two boards of one name would tell it every second for ever
            self._back()
        if self._desk is not None:
            client.subscribe(self._topic("command"), qos=1)
        self._resending, self._announced, self._online = True, False, True
        self._wake.set()

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._online = False
        if not self._ended.is_set():
            # By MQTT 3.1.1 a broker gives no reason: paho calls all but its silence an unspecified error.
            why = "it was silent" if reason == "Keep alive timeout" else "the connection broke"
            self._short = self._short + 1 if time.monotonic() - self._connected < SHORT else 0
            if self._short >= ROBBED:
                why += f" at once, again: is another board called {self._device}? Give each a --mqtt-device of its own"
                self._trouble.tell(f"{self._broker} lost: {why}; trying again, results wait")
            else:
                self._trouble.follow(f"{self._broker} lost: {why}; trying again, results wait")

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls from where it caught the error, and does not pass it on
        why = f": {getattr(error, 'strerror', None) or error}" if error is not None else ""
        self._trouble.tell(f"{self._broker} cannot be reached{why}; trying again, results wait")

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if self._desk is not None and not message.retain:  # one that is kept would be obeyed at every connection
            self._desk.ask(message.payload)
            self._wake.set()

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._acknowledged.append(mid)
        self._wake.set()

    def _back(self) -> None:
        self._trouble.over(f"{self._broker} is back, {len(self._store):,} results wait to be sent")

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Put one prediction into the store; where the disk refuses it is counted as ``disk`` and told."""
        del frame
        if self._desk is not None:
            self._desk.count(prediction)
        self._put(to_record(prediction, self._origin))

    def tell(self, event: Event) -> None:
        """Put an event into the store, between the results, with a number of its own; refused as a prediction is."""
        self._put({**event_record(event), **self._origin})

    def _put(self, record: Mapping[str, Any]) -> None:
        try:
            self._store.put(json.dumps(record))
        except KDLightError as error:
            if not self._refusing:
                self._report(f"mqtt: {error}; results are lost until there is room")
            self._refusing, self._refused = True, self._refused + 1
        else:
            if self._refusing:
                self._report(f"mqtt: results are stored again; {self._refused:,} were lost until now")
            self._refusing = False
        self._wake.set()

    def delivery(self) -> Delivery:
        """Return how it stands; may be asked from any thread."""
        dropped = {"full": self._store.dropped, "disk": self._refused}
        return Delivery("mqtt", len(self._store), self._delivered, dropped, kept=True)

    def _forward(self) -> None:
        """The sending thread: deliver what is acknowledged, send what is next, and keep what waits on the disk.

        Nobody would notice its end, as results go on to be stored: so nothing ends it, and what went wrong is told.
        """
        told, rest = "", 0.0
        while not self._ended.is_set():
            self._wake.wait(TICK)
            self._wake.clear()
            try:
                self._settle()
                if self._online:
                    self._send()
                    if self._short and time.monotonic() - self._connected > SHORT:
                        self._short = 0
                        self._back()
                    if self._flying and time.monotonic() - self._moved > MUTE:
                        self._trouble.tell(f"{self._broker} takes results and acknowledges none of them; they wait")
                    for last, text, retain in self._desk.due(self.delivery()) if self._desk is not None else ():
                        self._client.publish(self._topic(last), text, qos=1 if last == "answer" else 0, retain=retain)
                if time.monotonic() >= rest:
                    rest = time.monotonic() + 1.0  # of a disk that refuses: sending goes on meanwhile
                    self._store.tidy()
                    told, rest = "", 0.0
            except Exception as error:  # noqa: BLE001 - a fault of ours, too
                what = str(error) if isinstance(error, KDLightError) else f"{type(error).__name__}: {error}"
                if what != told:
                    self._report(f"mqtt: {what}; trying again")
                told = what
        with contextlib.suppress(Exception):  # the next run sends them again, under the same ids
            self._settle(now=True)

    def _settle(self, *, now: bool = False) -> None:
        """Take what was acknowledged out of the store."""
        while self._acknowledged:
            message = self._acknowledged.popleft()
            self._said.pop(message, None)
            number = self._flying.pop(message, None)
            if number is not None:
                self._done.append(number)
                self._moved = time.monotonic()
                if self._online and self._short < ROBBED:
                    self._trouble.over(f"{self._broker} acknowledges again, {len(self._store):,} results wait")
        if self._done and (now or time.monotonic() - self._taken >= TICK):
            self._taken = time.monotonic()
            self._delivered += len(self._done)
            self._store.take(self._done)
            self._done.clear()

    def _send(self) -> None:
        if not self._announced:
            self._announced = True
            status = self._topic("status"), self._status("online", "", since=utc(Moment.now()))
            for where, text in (said for said in (status, *self._greetings) if said[0] not in self._said.values()):
                self._said[self._client.publish(where, text, qos=1, retain=True).mid] = where
        if self._resending and self._flying:
            return  # paho sends what was under way once more: newer results wait, for the order's sake
        self._resending = False
        for number, text in self._store.after(self._sent, WINDOW - len(self._flying)):
            brought, _, body = text.partition("{")  # with an id of its own: see `spare`
            names = json.dumps({"id": brought.rstrip() or f"{self._store.name}-{number}", "device": self._device})
            where = self._topic("event" if body.startswith(_EVENT) else "result")
            message = self._client.publish(where, f"{names[:-1]}, {body}", qos=1)
            self._moved = self._moved if self._flying else time.monotonic()
            self._flying[message.mid] = number
            self._sent = number

    def _topic(self, last: str) -> str:
        return topic(self._broker, self._device, last)

    def _status(self, state: str, reason: str, *, since: str | None) -> str:
        said = {"schema": STATUS, "device": self._device, "state": state, "reason": reason, "since": since}
        return json.dumps({**said, **self._origin})

    def close(self) -> None:
        """Send what waits, as long as it moves, say goodbye, and leave the rest in the store for the next run."""
        if self._ended.is_set():
            return
        self._moved = time.monotonic()
        while len(self._store) and not self._late():
            self._ended.wait(0.01)
        self._ended.set()
        self._wake.set()
        self._thread.join(HURRY)
        if self._online:
            status = self._status("offline", "stopped", since=utc(Moment.now()))
            self._client.publish(self._topic("status"), status, qos=1, retain=True).wait_for_publish(HURRY)
        self._client.disconnect()
        # It may hang while it connects; being a daemon it does not hold up the end of the program.
        leaving = threading.Thread(target=self._client.loop_stop, name="mqtt end", daemon=True)
        leaving.start()
        leaving.join(HURRY)
        waiting, lost = len(self._store), self._store.dropped + self._refused
        if waiting:
            self._report(f"mqtt: {waiting:,} results wait in {self._store.path}; the next run sends them")
        if lost:
            self._report(f"mqtt: {lost:,} results are lost, as there was no room in {self._store.path}")
        if not self._thread.is_alive():
            self._store.close()

    def _late(self) -> bool:
        if self._online:
            patience = HURRY if self._stop.is_set() else self._linger
        else:
            patience = 0.0 if self._stop.is_set() else min(self._linger, 2.0)
        return time.monotonic() - self._moved > patience
