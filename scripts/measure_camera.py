#!/usr/bin/env python3
"""Measure a camera at 30 frames a second: age, CPU and the runtime's own cost; writes docs/results/camera.json.

usage: scripts/measure_camera.py [--seconds S] [--model NAME.kdl]

The camera is a real ffmpeg sending 640x480 MJPEG over HTTP. Decoding and the network are timed by CPU time of the
thread that does them; the runtime's own cost is the CPU time of the whole process less both.
"""

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdlight_devices.fingerprint import describe, fingerprint, versions
from kdlight_edge import classifier as classifying
from kdlight_edge import picture, prepare
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.jsonl import JsonLines
from kdlight_edge.sinks.lines import open_lines
from kdlight_edge.sources import Patience, latest, open_source
from kdlight_edge.stream import run
from kdlight_edge.tally import Summary

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "camera.json"
FPS, SIZE = 30, "640x480"
WARM_FRAMES = 60


class Clock:
    """Adds up the CPU time that a function takes in whichever thread it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run it."""
        began = time.thread_time()
        try:
            return self._function(*args, **keywords)
        finally:
            self.seconds += time.thread_time() - began


class Start:
    """A sink that notes what had been spent when the warm-up ended."""

    wants_frames = False

    def __init__(self, *clocks: Clock) -> None:
        self._clocks = clocks
        self.frames = 0
        self.spent: tuple[float, ...] = ()

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Count."""
        del prediction, frame
        self.frames += 1
        if self.frames == WARM_FRAMES:
            self.spent = self.now()

    def now(self) -> tuple[float, ...]:
        """Return wall, process CPU, and each clock, in seconds."""
        return (time.perf_counter(), time.process_time(), *(clock.seconds for clock in self._clocks))

    def close(self) -> None:
        """Nothing is held back."""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure a camera at 30 frames/s; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "surface-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--seconds", type=int, default=60, metavar="S")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; apt-get install ffmpeg brings it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    command = ["ffmpeg", "-loglevel", "quiet", "-re", "-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={FPS}"]
    with subprocess.Popen([*command, "-f", "mpjpeg", "-listen", "1", uri], stdin=subprocess.DEVNULL) as camera:
        try:
            with open_classifier(args.model, threads=1) as classifier:
                rows = measured(uri, classifier, args.seconds)
        finally:
            camera.kill()
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"scripts/measure_camera.py --seconds {args.seconds}",
        "machine": describe(fingerprint()),
        "versions": versions(),
        "camera": f"{SIZE} MJPEG at {FPS} frames/s over HTTP",
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))
    return 0


def measured(uri: str, classifier: Classifier, seconds: int) -> list[dict[str, str]]:
    """Run the camera and return what it cost, with the goal."""
    decode, network = Clock(picture.decode_reduced), Clock(classifier.engine.run)
    resize = Clock(prepare.prepare)
    for module, name, clock in ((latest, "decode_reduced", decode), (classifying, "prepare", resize)):
        setattr(module, name, clock)
    classifier.engine.run = network  # type: ignore[method-assign]
    start, stop = Start(decode, network, resize), threading.Event()
    source = open_source(uri, Patience(first_wait=0.2, at_start=True), print)
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    with tempfile.TemporaryDirectory() as folder:
        lines = JsonLines(open_lines(Path(folder, "lines.jsonl"), at_once=True), classifier.origin)
        summary = run(source, classifier, [lines, start], stop=stop)
    timer.cancel()
    spent = [now - then for now, then in zip(start.now(), start.spent, strict=True)]
    return rows_of(summary, spent, start.frames - WARM_FRAMES)


def rows_of(summary: Summary, spent: list[float], frames: int) -> list[dict[str, str]]:
    """Turn seconds into the table's rows."""
    wall, process, decode, network, resize = spent
    own = (process - decode - network) / frames * 1000
    age = summary.age_ms
    table = [
        ("frames answered after the warm-up", f"{frames:,} at {frames / wall:.1f} a second", ""),
        ("frames dropped", f"{summary.dropped:,}", ""),
        ("age of a result, median", f"{age['p50']:.1f} ms", ""),
        ("age of a result, p99", f"{age['p99']:.1f} ms" if "p99" in age else "too few frames", "under 50 ms"),
        ("CPU besides decoding, of one core", f"{(process - decode) / wall:.1%}", "under 15 %"),
        ("decoding", f"{decode / frames * 1000:.2f} ms a frame", ""),
        ("network", f"{network / frames * 1000:.2f} ms a frame", ""),
        ("of everything else, the resize", f"{resize / frames * 1000:.2f} ms a frame", ""),
        ("everything else", f"{own:.2f} ms a frame", "under 0.3 ms"),
    ]
    return [{"what": what, "value": value, "goal": goal} for what, value, goal in table]


if __name__ == "__main__":
    raise SystemExit(main())
