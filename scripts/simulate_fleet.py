#!/usr/bin/env python3
"""Let simulated boards speak to a real mosquitto, and measure what a fleet costs its broker and its table.

usage: scripts/simulate_fleet.py [--boards 10 100 300 1000] [--seconds 30] [--rate 1] [--broker HOST:PORT] [--out FILE]

Each board has a connection of its own with a last will, and sends what a board sends: its status (retained), figures
every ten seconds (retained, from the very code of the runtime) and --rate results a second with QoS 1. One subscriber
takes all of it, as a dashboard would. Without --broker a mosquitto is started here, and its load is read from /proc.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records import typed, write_record

from kdlight_devices.fingerprint import versions
from kdlight_edge.decide import Prediction, to_record
from kdlight_edge.fleet import Fleet, table
from kdlight_edge.frame import Moment
from kdlight_edge.sinks.broker import Broker
from kdlight_edge.sinks.desk import EVERY, Desk
from kdlight_edge.sinks.mqtt import KEEPALIVE, STATUS
from kdlight_edge.sinks.outbox import Delivery

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "fleet.json"
ORIGIN = {
    "engine": "onnxruntime", "precision": "fp32", "throttled": False, "fps_limit": None,
    "bundle": {"name": "surface-crack", "version": "0.2.0", "digest": "5" * 64},
}  # fmt: skip
TABLES = 5
"""How often the table is made from nothing; the median is told."""


class Board:
    """One board on a connection of its own; speaks as much MQTT 3.1.1 as it needs."""

    def __init__(self, name: str, rate: float) -> None:
        self.name, self.rate = name, rate
        self.sent = self.acknowledged = 0
        self._desk = Desk(name, ORIGIN)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def live(self, host: str, port: int, phase: float, over: asyncio.Event) -> None:
        """Connect, speak until ``over``; ``phase`` (0 to 1) spreads the boards over the intervals."""
        self._reader, self._writer = await asyncio.open_connection(host, port)
        will = json.dumps({"schema": STATUS, "device": self.name, "state": "offline", **ORIGIN}).encode()
        names = [f"sim-{self.name}".encode(), f"kdlight/{self.name}/status".encode(), will]
        flags = 0x02 | 0x04 | 0x08 | 0x20  # clean session, will, its QoS 1, retained
        head = _text(b"MQTT") + bytes([4, flags]) + KEEPALIVE.to_bytes(2, "big")
        self._writer.write(_packet(0x10, head + b"".join(map(_text, names))))
        answer = await self._reader.readexactly(4)
        if answer[3]:
            raise SystemExit(f"the broker refuses board {self.name}: code {answer[3]}")
        listening = asyncio.create_task(self._listen())
        status = {"schema": STATUS, "device": self.name, "state": "online", "reason": "", "since": None, **ORIGIN}
        self._publish("status", json.dumps(status), qos=1, retain=True)
        await asyncio.gather(self._results(phase, over), self._figures(phase, over))
        self._writer.write(_packet(0xE0, b""))
        listening.cancel()
        self._writer.close()

    async def _listen(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(2)
                await self._reader.readexactly(head[1])
                self.acknowledged += head[0] >> 4 == 4  # noqa: PLR2004 - PUBACK

    async def _results(self, phase: float, over: asyncio.Event) -> None:
        await asyncio.sleep(phase / self.rate)
        index = 0
        while not over.is_set():
            now = Moment.now()
            answer = Prediction("cam", index, now, now, "accepted", "", "crack", 0.97, (("crack", 0.97),), 1.0)
            self._desk.count(answer)
            body = {"id": f"00000000-{index}", "device": self.name, **to_record(answer, ORIGIN)}
            self._publish("result", json.dumps(body), qos=1)
            await self._writer.drain()
            index += 1
            await asyncio.sleep(1 / self.rate)

    async def _figures(self, phase: float, over: asyncio.Event) -> None:
        await asyncio.sleep(phase * EVERY)
        while not over.is_set():
            for message in self._desk.due(Delivery("mqtt", 0, self.acknowledged, {})):
                self._publish(message.last, message.text, retain=message.retain)
            await asyncio.sleep(1)

    def _publish(self, last: str, text: str, *, qos: int = 0, retain: bool = False) -> None:
        self.sent += 1
        number = (self.sent % 65535 + 1).to_bytes(2, "big") if qos else b""
        body = _text(f"kdlight/{self.name}/{last}".encode()) + number + text.encode()
        self._writer.write(_packet(0x30 | qos << 1 | retain, body))


def _text(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _packet(kind: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


class Mosquitto:
    """The broker, and what the kernel counts of it."""

    def __init__(self, number: int) -> None:
        self._stat = Path(f"/proc/{number}/stat")
        self._status = Path(f"/proc/{number}/status")

    def seconds(self) -> float:
        """Return its processor time."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Return its memory."""
        lines = self._status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@contextlib.contextmanager
def mosquitto() -> Iterator[tuple[str, int, Mosquitto]]:
    """Start a broker."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise SystemExit("mosquitto is missing: apt install mosquitto; or name a --broker")
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        config = Path(folder, "conf")
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
        process = subprocess.Popen([program, "-c", str(config)])
        try:
            until = time.monotonic() + 10
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if time.monotonic() > until:
                    raise SystemExit("mosquitto does not listen")
                time.sleep(0.05)
            with listener(port):
                yield "127.0.0.1", port, Mosquitto(process.pid)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def listener(port: int) -> Iterator[None]:
    """Take everything, as a dashboard would."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "kdlight/#"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def measure(
    boards: int, rate: float, seconds: float, host: str, port: int, engine: Mosquitto | None
) -> dict[str, Any]:
    """Let so many boards live, and return a row."""
    over = asyncio.Event()
    fleet = [Board(f"board-{number:04}", rate) for number in range(boards)]
    lives = [asyncio.create_task(board.live(host, port, number / boards, over)) for number, board in enumerate(fleet)]
    await asyncio.sleep(EVERY + 2)  # every board has sent its first figures by now
    before = sum(board.sent for board in fleet), sum(board.acknowledged for board in fleet), time.monotonic()
    cpu = None if engine is None else engine.seconds()
    await asyncio.sleep(seconds)
    after = sum(board.sent for board in fleet), sum(board.acknowledged for board in fleet), time.monotonic()
    span = after[2] - before[2]
    busy = None if engine is None or cpu is None else (engine.seconds() - cpu) / span
    memory = None if engine is None else engine.rss_bytes()
    tables = [await asyncio.to_thread(refresh, Broker(host, port, tls=False)) for _ in range(TABLES)]
    over.set()
    results = await asyncio.gather(*lives, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        raise SystemExit(f"{len(failures)} of {boards} boards failed, the first: {failures[0]!r}")
    tables.sort(key=lambda entry: entry["first_s"])
    return {
        "boards": boards,
        "messages_per_second": round((after[0] - before[0]) / span, 1),
        "acknowledged_per_second": round((after[1] - before[1]) / span, 1),
        "broker_cpu_share": None if busy is None else round(busy, 4),
        "broker_rss_bytes": memory,
        **tables[len(tables) // 2],
    }


def refresh(broker: Broker) -> dict[str, Any]:
    """Make the table from nothing, and once more from what is known."""
    started = time.perf_counter()
    fleet = Fleet(broker)
    fleet.listen()
    first = time.perf_counter() - started
    again = time.perf_counter()
    rows = fleet.rows()
    text = table(rows)
    redraw = time.perf_counter() - again
    fleet.close()
    return {"seen": text.count("\n"), "first_s": round(first, 3), "redraw_ms": round(redraw * 1000, 2)}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Simulate a fleet; see the file's own first lines.")
    parser.add_argument("--boards", type=int, nargs="+", default=[10, 100, 300, 1000], metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="measured a row (default 30)")
    parser.add_argument("--rate", type=float, default=1.0, metavar="N", help="results a second and board (default 1)")
    parser.add_argument("--broker", metavar="HOST:PORT", help="one that runs already; its load is not measured")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A socket for each board; mosquitto inherits the limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    rows = []
    for boards in args.boards:
        if args.broker:
            host, _, port = args.broker.rpartition(":")
            row = asyncio.run(measure(boards, args.rate, args.seconds, host, int(port), None))
        else:
            with mosquitto() as (host, number, engine):
                row = asyncio.run(measure(boards, args.rate, args.seconds, host, number, engine))
        print(json.dumps(row), flush=True)
        rows.append(row)
    write_record(
        args.out,
        typed(),
        versions=versions((*versions(), "paho-mqtt")),
        rate=args.rate,
        rows=rows,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
