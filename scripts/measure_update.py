#!/usr/bin/env python3
"""Measure what a camera misses while its bundle is updated or rolled back; writes docs/results/update.json.

usage: scripts/measure_update.py [--repeats N]

The service is the real program on a generated camera of 30 frames a second, kept alive as its unit does (restarted
after a second); the update is the real command, from a repository in a folder. A gap is the longest time between two
results in a row around the change of the bundle, less the 33 ms that always lie between two frames.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from records import typed, write_record

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.edge.update.manager import Manager  # noqa: E402 - the tests' own, on a path that is set above

MODEL = ROOT / "models/surface-crack.kdl"
RESULTS = ROOT / "docs/results/update.json"
FPS = 30
PROBATION = 2.0
PROGRAM = [sys.executable, "-m", "kdlight_edge.cli"]


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), repeats)
    write_record(RESULTS, typed(), camera=f"generated, {FPS} frames a second", rows=rows)
    print(json.dumps(rows, indent=1))
    return 0


class Device:
    """A device with its service at work, and a repository that it believes."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "state")
        self.publisher = Publisher(folder / "repository", folder / "keys")
        self._root = self.publisher.create()
        self._folder, self._number = folder, 0
        service = [*PROGRAM, "infer", "--source", f"scene:crack?fps={FPS}", "--json", "--model", str(MODEL)]
        (folder / "service").mkdir()
        self.manager = Manager([*service, "--state", str(self.state.folder)], folder / "service")

    def results(self) -> list[tuple[float, str]]:
        """Return when each result was decided, seconds, and by which version of the bundle."""
        lines = (self.manager.folder / "out").read_text().splitlines() if (self.manager.folder / "out").exists() else []
        told = [json.loads(line) for line in lines if line.endswith("}")]
        return [(seconds(one["decided"]), one["bundle"]["version"]) for one in told]

    def until(self, version: str, *, more: int = 30) -> None:
        """Wait until a version gives results, and some more."""
        wait(lambda: [of for _, of in self.results()[-more:]] == [version] * more)

    def offer(self) -> str:
        """Publish the same network as a higher version."""
        self._number += 1
        bundle = open_bundle(MODEL)
        manifest = dataclasses.replace(bundle.manifest, version=f"1.{self._number}")
        files = {one.name: one.read_bytes() for one in bundle.path.iterdir() if one.name != "manifest.json"}
        self.publisher.add(write_bundle(self._folder / "offered.kdl", manifest, files).path)
        return manifest.version

    def update(self) -> float:
        """Run the command; return its seconds."""
        command = [*PROGRAM, "update", "--from", str(self._folder / "repository"), "--root", str(self._root)]
        command += ["--state", str(self.state.folder), "--probation", str(PROBATION), "--board", "x86"]
        began = time.monotonic()
        subprocess.run(["nice", "-n", "10", *command], check=True, capture_output=True)
        return time.monotonic() - began

    def roll_back(self) -> None:
        """Run the command."""
        subprocess.run([*PROGRAM, "update", "rollback", "--state", str(self.state.folder)], check=True)


def measured(folder: Path, repeats: int) -> list[dict[str, str]]:
    """Update, let fall and roll back again and again; return the table's rows."""
    device = Device(folder)
    commands, updates, falls, undone = [], [], [], []
    with device.manager:
        good = open_bundle(MODEL).manifest.version
        device.until(good)
        for _ in range(repeats):
            version = device.offer()
            commands.append(device.update())
            device.until(version)
            updates.append(gap(device.results(), good, version))
            wait(lambda: device.state.ledger().probation is None)
            good = version
            failing = device.offer()
            device.update()
            device.until(failing)
            device.manager.kill()
            device.until(good)
            falls.append(gap(device.results(), failing, good))
        for _ in range(repeats):
            version = device.offer()
            device.update()
            device.until(version)
            wait(lambda: device.state.ledger().probation is None)
            device.roll_back()
            device.until(good)
            undone.append(gap(device.results(), version, good))
    return [
        row("the command, from a repository in a folder to the switch", commands, ""),
        row("missing frames when an update comes into service", updates, "under 5 s"),
        row("missing frames when a version on probation is killed and rolled back by the service", falls, "under 15 s"),
        row("missing frames when a person rolls back", undone, "under 15 s"),
    ]


def row(what: str, values: list[float], goal: str) -> dict[str, str]:
    """Return a row: the median and the range."""
    text = f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f} in {len(values)} runs)"
    return {"what": what, "value": text, "goal": goal}


def gap(results: list[tuple[float, str]], before: str, after: str) -> float:
    """Return the time without a result between the last of one version and the first of the next."""
    first = max(i for i in range(1, len(results)) if (results[i - 1][1], results[i][1]) == (before, after))
    around = range(max(1, first - FPS), min(len(results), first + FPS))
    return max(results[i][0] - results[i - 1][0] for i in around) - 1 / FPS


def seconds(text: str) -> float:
    """Return a time as seconds."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def wait(ready: Callable[[], Any], limit: float = 60.0) -> None:
    """Wait for something."""
    ends = time.monotonic() + limit
    while not ready():
        if time.monotonic() > ends:
            raise SystemExit("waited in vain")
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
