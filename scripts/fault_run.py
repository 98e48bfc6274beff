#!/usr/bin/env python3
"""Run on an ffmpeg network camera that is killed and frozen on a schedule, and tell how it recovered.

usage: scripts/fault_run.py [--minutes 10] [--model NAME.kdl]

Writes docs/results/fault_run.json (every fault with its times, the run's own log) and docs/results/fault_run.prom (its
metrics page at the end, judged by ``promtool check metrics``).
"""

import argparse
import json
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

from records import typed, write_record

from kdlight_edge.selftest.bench import counted
from kdlight_edge.selftest.child import HASTY, Run, infer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PATTERN = "testsrc2=size=640x480:rate=20"
CALM = 15.0
"""Seconds of good pictures between two faults."""

FAULTS = ("killed", "frozen", "killed twice", "frozen")
"""In turn. ``frozen`` is SIGSTOP: the connection stays open and nothing comes."""


class Camera:
    """An ffmpeg that serves MJPEG to one viewer, and is started again whenever it ends, unless it is held down."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.uri = f"http://127.0.0.1:{free.getsockname()[1]}/"
        self._held = threading.Event()
        self._held.set()
        self._over = False
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = ["ffmpeg", "-loglevel", "quiet", "-re", "-f", "lavfi", "-i", PATTERN]
        return subprocess.Popen(
            [*command, "-q:v", "5", "-f", "mpjpeg", "-listen", "1", self.uri], stdin=subprocess.DEVNULL
        )

    def _keep(self) -> None:
        while not self._over:
            self._process.wait()
            self._held.wait()
            time.sleep(0.2)
            if not self._over:
                self._process = self._start()

    def kill(self) -> None:
        """Pull the cable: it stays away until `back`."""
        self._held.clear()
        self._process.kill()

    def freeze(self) -> None:
        """Stop the process where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def back(self) -> None:
        """Let it go on or start again."""
        self._process.send_signal(signal.SIGCONT)
        self._held.set()

    def close(self) -> None:
        """End it."""
        self._over = True
        self._held.set()
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._keeper.join(10)
        self._process.kill()
        self._process.wait()


def main() -> int:
    """Run, judge, write; 1 where it did not recover or a result came twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M")
    parser.add_argument("--model", default=str(ROOT / "models" / "road-crack.kdl"), metavar="NAME.kdl")
    args = parser.parse_args()
    camera = Camera()
    try:
        with infer(camera.uri, args.model, "--await-camera", "--metrics", "0", patience=HASTY) as run:
            port = run.port("metrics on")
            run.more(20)
            began = time.monotonic()
            faults = inject(run, camera, began + args.minutes * 60)
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            seconds = time.monotonic() - began
            code = run.stop()
    finally:
        camera.close()
    (RESULTS / "fault_run.prom").write_text(page, encoding="utf-8")
    record = write_record(
        RESULTS / "fault_run.json",
        typed(),
        camera=f"ffmpeg, {PATTERN}, MJPEG over HTTP; stall and freeze timeout 1 s",
        **judged(run, code, page),
        seconds=round(seconds, 1),
        faults=faults,
        log=[f"{when - began:8.2f} s  {line.replace(camera.uri, 'camera')}" for when, line in run.told],
    )
    print(json.dumps({key: value for key, value in record.items() if key not in {"log", "faults"}}, indent=1))
    return 0 if record["well"] else 1


def inject(run: Run, camera: Camera, until: float) -> list[dict[str, Any]]:
    """Inject faults in turn until the time is over; return when each was told, and when results flowed again."""
    rows: list[dict[str, Any]] = []
    dice, began = random.Random(1), time.monotonic()
    while time.monotonic() < until:
        name = FAULTS[len(rows) % len(FAULTS)]
        since, injected, away = len(run.told), time.monotonic(), dice.uniform(1.5, 6.0)
        (camera.freeze if name == "frozen" else camera.kill)()
        run.wait(lambda: run.said("lost", since=since) is not None, f"word of a camera that was {name}")  # noqa: B023 - called here
        told = time.monotonic()
        time.sleep(away)
        if name == "killed twice":
            camera.back()
            time.sleep(0.5)
            camera.kill()
            time.sleep(1.0)
        seen, mended = len(run.records), time.monotonic()
        camera.back()
        run.wait(lambda: len(run.records) > seen + 20, "results after a fault")  # noqa: B023 - called here
        back = run.arrived[seen] - mended
        row = {
            "fault": name,
            "at": injected - began,
            "told_after": told - injected,
            "away": mended - injected,
            "back_after": back,
        }
        rows.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
        time.sleep(max(0.0, min(CALM, until - time.monotonic())))
    return rows


def judged(run: Run, code: int, page: str) -> dict[str, Any]:
    """Return what the run adds up to, and whether all of it is well."""
    indexes = [record["index"] for record in run.records]
    errors = sum(record["decision"] == "error" for record in run.records)
    ordered = all(before < after for before, after in pairwise(indexes))
    whole = counted(run) == indexes[-1] + 1
    promtool = shutil.which("promtool")
    check = (
        subprocess.run([promtool, "check", "metrics"], input=page, text=True, capture_output=True, check=False)
        if promtool
        else None
    )
    ages = sorted(record["age_ms"] for record in run.records)
    return {
        "well": ordered
        and whole
        and not run.torn
        and code == (1 if errors else 0)
        and (check is None or not check.returncode),
        "exit_code": code,
        "results": len(indexes),
        "dropped": counted(run) - len(indexes),
        "errors": errors,
        "in_order_and_once": ordered,
        "every_index_accounted_for": whole,
        "age_ms": {"p50": ages[len(ages) // 2], "p99": ages[len(ages) * 99 // 100], "max": ages[-1]},
        "promtool": "not installed"
        if check is None
        else f"exit code {check.returncode} {check.stdout}{check.stderr}".strip(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
