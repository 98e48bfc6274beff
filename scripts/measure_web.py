#!/usr/bin/env python3
"""Measure the page: its start in a real browser, and what one viewer costs, and write docs/results/web.json.

usage: scripts/measure_web.py [--model NAME.kdl] [--seconds S]

The same camera (generated, 640x480 at 30 frames/s) runs with the page and nobody looking, and with one Chromium that
shows it; the cost of the viewer is the difference of the processor times of the program, not of the browser.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from records import typed, write_record

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "web.json"
sys.path.insert(0, str(ROOT))
from tests.edge.browser import Browser, browser  # noqa: E402 - the tests' own, on a path that is set above

STARTS = 5
CAMERA = "scene:crack?size=640x480&fps=30"


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the page; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--seconds", type=float, default=12.0, metavar="S")
    args = parser.parse_args()
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", CAMERA, "--model", str(args.model)]
    run = [*command, "--web", "0"]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        address = next(iter(process.stderr or ())).split("page on ")[1].split()[0]
        with browser() as window:
            starts = sorted(start(window, address) for _ in range(STARTS))
            window.open("about:blank")
            idle = share(process.pid, args.seconds)
            start(window, address)
            viewed = share(process.pid, args.seconds)
            window.run("document.getElementById('heat').click()")
            heated = share(process.pid, args.seconds)
        process.terminate()
    figures: dict[str, Any] = {
        "start_seconds": {"median": round(starts[len(starts) // 2], 3), "max": round(starts[-1], 3), "n": STARTS},
        "core_percent": {"nobody": idle, "one_viewer": viewed, "one_viewer_heat_map": heated},
        "viewer_core_percent": round(viewed - idle, 1),
        "viewer_heat_core_percent": round(heated - idle, 1),
    }
    print(json.dumps(write_record(RESULTS, typed(), **figures, rows=rows(figures)), indent=1))
    return 0


def rows(figures: dict[str, Any]) -> list[dict[str, str]]:
    """Return the table of the page."""
    start, cores = figures["start_seconds"], figures["core_percent"]
    table = [
        (
            "start of the page in Chromium, median (longest)",
            f"{start['median']:.2f} s ({start['max']:.2f} s)",
            "under 1 s",
        ),
        ("the run, nobody looks, of one core", f"{cores['nobody']:.1f} %", ""),
        ("one viewer more", f"{figures['viewer_core_percent']:.1f} %", "under 5 %"),
        ("one viewer more, with the heat map", f"{figures['viewer_heat_core_percent']:.1f} %", "under 5 %"),
    ]
    return [{"what": what, "value": value, "goal": goal} for what, value, goal in table]


def start(window: Browser, address: str) -> float:
    """Return the seconds from the navigation to the first picture on the page."""
    window.open(address)
    window.wait("document.querySelector('figure img')?.naturalWidth")
    milliseconds: float = window.run("return performance.now()")
    return milliseconds / 1000


def share(pid: int, seconds: float) -> float:
    """Return percent of a core that a process takes."""
    before, began = ticks(pid), time.monotonic()
    time.sleep(seconds)
    used = (ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
    return round(100 * used / (time.monotonic() - began), 1)


def ticks(pid: int) -> int:
    """Return its processor time, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    raise SystemExit(main())
