#!/usr/bin/env python3
"""Measure how long `kdlight-edge verify` takes, and write docs/results/verify.json.

usage: scripts/measure_verify.py [--model NAME.kdl ...]

For each bundle and engine that it has a file for: the replay of the golden pictures (drawn, resized and run), and the
whole command from its start to its exit code, the imports of the engine included. Medians of several starts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from records import typed, write_record

ROOT = Path(__file__).resolve().parent.parent
STARTS = 7
GOAL = "under 1 s"


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure verify; see the file's own first lines.")
    models = [ROOT / "models" / f"{name}.kdl" for name in ("road-crack", "skin-lesion")]
    parser.add_argument("--model", type=Path, nargs="+", default=models, metavar="NAME.kdl")
    rows = [row for model in parser.parse_args().model for row in measure(model)]
    file = ROOT / "docs" / "results" / "verify.json"
    print(json.dumps(write_record(file, typed(), starts=STARTS, rows=rows), indent=1))
    return 0


def measure(model: Path) -> list[dict[str, str]]:
    """Return the rows of one bundle."""
    rows = []
    for engine in ("onnxruntime", "openvino"):
        replays: list[float] = []
        starts = []
        for _ in range(STARTS):
            started = time.perf_counter()
            record = verify(model, engine)
            starts.append(time.perf_counter() - started)
            if record is None:
                break
            replays.append(sum(row["milliseconds"] for row in record["files"] if row["status"] == "equal"))
            files = sum(row["status"] == "equal" for row in record["files"])
        if not replays:
            continue
        told = f"{model.stem}, {engine}, {files} file{'s' * (files > 1)}"
        rows += [
            {"what": f"{told}: replay", "value": f"{statistics.median(replays):.0f} ms", "goal": GOAL},
            {"what": f"{told}: the whole command", "value": f"{statistics.median(starts):.2f} s", "goal": GOAL},
        ]
    return rows


def verify(model: Path, engine: str) -> dict[str, Any] | None:
    """Run the command once and return what it printed; None where the bundle has nothing for the engine."""
    command = [sys.executable, "-m", "kdlight_edge.cli", "verify", str(model), "--engine", engine, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    record: dict[str, Any] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    raise SystemExit(main())
