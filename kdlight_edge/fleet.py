"""A fleet as its broker knows it: the newest status and figures of every board, and what stands out in them."""

import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho

from kdlight_edge.began import NEWBORN
from kdlight_edge.board_words import read, seconds_of
from kdlight_edge.errors import SourceError
from kdlight_edge.plain import place_of
from kdlight_edge.sinks.broker import Broker
from kdlight_edge.sinks.client import client_of

QUIET = 0.5
"""Seconds without a kept message after which what the broker has kept is taken to be told; it tells it in one go."""

MISSED = 3
"""Intervals without figures after which a board that says ``online`` counts as silent."""

Z = 3.0
"""Standard errors by which a rate must lie above its usual one to be called drift: one false call in 700 looks."""


@dataclass(slots=True)
class Known:
    """What is known of one board."""

    status: Mapping[str, Any] | None = None
    stats: Mapping[str, Any] | None = None
    heard: float | None = None
    """When figures came from itself and not as the broker had kept them, ``time.monotonic``: by no board's clock."""


class Fleet:
    """Listens to every board under a prefix."""

    def __init__(self, broker: Broker) -> None:
        """Take where to listen."""
        self._broker = broker
        self._boards: dict[str, Known] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._refused = ""
        self.unreadable = 0
        self._newest = 0.0
        self._lost: float | None = None
        self._client = client_of(broker)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = lambda *_: self._ready.set()

    def listen(self, seconds: float = 10.0) -> None:
        """Connect, and wait until what the broker has kept is told.

        Raises:
            SourceError: the broker is not there, refuses, or does not answer in time.
        """
        where = place_of(self._broker.host, self._broker.port)
        try:
            self._client.connect(self._broker.host, self._broker.port)
        except OSError as error:
            raise SourceError(f"the broker {where} cannot be reached: {error.strerror or error}") from error
        self._client.loop_start()
        until = time.monotonic() + seconds
        if not self._ready.wait(seconds) or self._refused:
            self.close()
            raise SourceError(f"the broker {where} {self._refused or f'does not answer within {seconds:g} s'}")
        self._newest = time.monotonic()
        while (left := self._newest + QUIET - time.monotonic()) > 0 and time.monotonic() < until:
            time.sleep(left)

    def close(self) -> None:
        """Let go of the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"refuses: {reason}"
            self._ready.set()
            return
        with self._lock:  # what the broker has kept comes again, and boards that went meanwhile do not
            self._boards.clear()
        self._lost = None
        client.subscribe([(f"{self._broker.prefix}/+/{last}", 0) for last in ("status", "stats")])

    def _on_disconnect(self, *_: Any) -> None:
        self._lost = time.monotonic() if self._lost is None else self._lost

    def lost_s(self) -> float | None:
        """Return for how many seconds the broker has been lost, which is tried again; None while it is there."""
        lost = self._lost
        return None if lost is None else time.monotonic() - lost

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        device, last = message.topic.split("/")[-2:]
        if message.retain:  # as the broker has kept it; what boards send now comes without this mark, and without end
            self._newest = time.monotonic()
        if not message.payload:  # how a board that is gone for good is taken out
            with self._lock:
                self._boards.pop(device, None)
            return
        said = read(last, message.payload) if device.isprintable() else None
        if said is None:
            self.unreadable += 1
            return
        with self._lock:
            known = self._boards.setdefault(device, Known())
            setattr(known, last, said)
            if last == "stats":
                known.heard = None if message.retain else time.monotonic()

    def rows(self, now: float | None = None) -> list[dict[str, Any]]:
        """Return one row a board, by name, see `row`; ``now`` in seconds since 1970."""
        with self._lock:
            boards = sorted(self._boards.items())
        now = time.time() if now is None else now
        return [row(device, known, now) for device, known in boards]


def row(device: str, known: Known, now: float) -> dict[str, Any]:
    """Return what a table tells of a board: plain JSON types.

    ``state`` is what the broker knows (``online``, ``offline``), or ``silent`` where a board that is online has sent no
    figures for three of its intervals; ``drift`` lists rates above the usual ones by more than chance explains;
    ``clock`` is what a board's clock said that is wrong.
    """
    status, stats = known.status or {}, known.stats or {}
    state = str(status.get("state", "unknown"))
    said = seconds_of(stats.get("at"))
    allowed = MISSED * float(stats.get("every_s") or 10.0)
    ago = None if said is None else now - said
    clock = None
    if said is not None and known.heard is not None:
        ago = time.monotonic() - known.heard
        clock = str(stats["at"]) if abs(now - said - ago) > allowed else None
    elif said is not None and not NEWBORN <= said <= now + allowed:
        ago, clock = None, str(stats["at"])  # nobody can tell when that was
    if state == "online" and ago is not None and ago > allowed:
        state = "silent"
    bundle = stats.get("bundle") or status.get("bundle") or {}
    alive = state == "online"
    return {
        "device": device,
        "state": state,
        "since": status.get("since"),
        "bundle": bundle.get("name"),
        "version": bundle.get("version"),
        "digest": str(bundle.get("digest") or "")[:12] or None,
        "engine": stats.get("engine") or status.get("engine"),
        "fps": stats.get("fps") if alive else None,
        "fps_limit": stats.get("fps_limit"),
        "age_p99_ms": (stats.get("age_ms") or {}).get("p99"),
        "celsius": stats.get("celsius"),
        "throttled": stats.get("throttled"),
        "waiting": stats.get("waiting"),
        "lost": stats.get("lost"),
        "rates": stats.get("rates") or {},
        "drift": drift(stats.get("rates") or {}, stats.get("usual") or {}, stats.get("recent") or 0),
        "heard_s": None if ago is None else round(ago, 1),
        "clock": clock,
    }


def drift(rates: Mapping[str, float], usual: Mapping[str, float | None], samples: int) -> list[str]:
    """Return the rates that lie above their usual value by more than `Z` standard errors of a binomial share.

    Frames of one camera resemble each other, so that chance moves a rate more than this says: it is a reason to look,
    not a proof. Sources: normal approximation of the binomial, with one count added against a usual rate of 0.
    """
    found = []
    for name, value in rates.items():
        expected = usual.get(name)
        if expected is None or samples == 0:
            continue
        error = math.sqrt(max(expected, 1 / samples) * (1 - expected) / samples)
        if value > expected + Z * error:
            found.append(f"{name} {value:.0%} (usual {expected:.0%})")
    return found


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as text, what stands out last in each."""
    titles = ("board", "state", "bundle", "frames/s", "age p99", "heat", "to look at")
    cells = [titles, *(_cells(entry) for entry in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    def figure(name: str, form: str) -> str:
        return "-" if entry[name] is None else form.format(entry[name])

    notes = list(entry["drift"])
    if entry["throttled"]:
        notes.append("throttled")
    if entry["fps_limit"] is not None:
        notes.append(f"held to {entry['fps_limit']:.1f} frames/s")
    if entry["lost"]:
        notes.append(f"{entry['lost']:,} results lost")
    if entry["state"] == "silent":
        notes.append(f"no figures for {entry['heard_s']:.0f} s")
    if entry["clock"] is not None:
        notes.append(f"its clock is wrong: {entry['clock'][:16]}")
    name = "-" if entry["bundle"] is None else f"{entry['bundle']} {entry['version'] or ''}".rstrip()
    return (
        entry["device"], entry["state"], name, figure("fps", "{:.1f}"), figure("age_p99_ms", "{:.0f} ms"),
        figure("celsius", "{:.0f} °C"), "; ".join(notes),
    )  # fmt: skip
