#!/usr/bin/env python3
"""Run the runtime for long and watch memory, descriptors, threads and ages: docs/results/NAME.json and docs/NAME.svg.

usage: scripts/soak.py [--frames N | --hours H] [--camera scene|mjpeg] [--fps N] [--model NAME.kdl] [--name soak]

``scene`` is generated as fast as it is answered; ``mjpeg`` is a network camera in this process, JPEG over HTTP. The run
is `kdlight-edge infer` in a process of its own, with JSON lines that rotate, a sealed audit and a metrics page.
"""

import argparse
import contextlib
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records import stamp

from kdlight_edge.selftest.camera import Camera

ROOT = Path(__file__).resolve().parent.parent
AGE = re.compile(r'"age_ms": ([0-9.]+)')
WINDOWS = 200
"""Windows that the frames are put into; each has its figures."""

WARM = 0.1
"""Share of the windows that are left out of the slope: buffers and caches fill in them."""

GOAL_MB = 1.0
"""Growth of memory over 200,000 frames that is allowed."""


def main() -> int:
    """Run, sample, write; 1 where the memory grew by more than the goal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=200_000, metavar="N")
    parser.add_argument(
        "--hours", type=float, default=0.0, metavar="H", help="end after so long, whatever --frames says"
    )
    parser.add_argument("--camera", choices=("scene", "mjpeg"), default="scene")
    parser.add_argument("--fps", type=float, default=1000.0, metavar="N", help="frames a second that the camera sends")
    parser.add_argument("--model", default=str(ROOT / "models" / "road-crack.kdl"), metavar="NAME.kdl")
    parser.add_argument("--name", default="soak", help="of the files in docs/results and docs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, camera_of(args.camera, args.fps) as uri:
        rows = soak(uri, args.model, Path(folder), args.frames, args.hours)
    record = summary(rows, args)
    (ROOT / "docs" / "results" / f"{args.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (ROOT / "docs" / f"{args.name}.svg").write_text(plot(rows, record), encoding="utf-8")
    print(json.dumps({key: value for key, value in record.items() if key != "windows"}, indent=1))
    return 0 if record["rss_growth_mb_per_200k"] < GOAL_MB else 1


@contextlib.contextmanager
def camera_of(kind: str, fps: float) -> Iterator[str]:
    """Give the address of a camera."""
    if kind == "scene":
        yield f"scene:crack?size=320x240&fps={fps:g}"
        return
    with Camera(fps) as camera:
        yield camera.uri


def soak(uri: str, model: str, folder: Path, frames: int, hours: float) -> list[dict[str, Any]]:
    """Run to the end and return a row for each window of frames."""
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", uri, "--model", model, "--json"]
    command += ["--json-file", str(folder / "lines.jsonl"), "--audit", str(folder / "audit.jsonl"), "--rotate", "5MB"]
    command += ["--metrics", "0", *(["--frames", str(frames)] if not hours else [])]
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    window = max(1, frames // WINDOWS)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        complaints: list[str] = []
        listener = threading.Thread(target=lambda: complaints.extend(child.stderr or ()), daemon=True)
        listener.start()
        ages: list[float] = []
        for count, line in enumerate(child.stdout or (), 1):
            found = AGE.search(line)
            ages.append(float(found[1]) if found else math.nan)
            if len(ages) == window:
                rows.append(
                    {"frames": count, "seconds": round(time.monotonic() - started, 1), **sample(child.pid, ages)}
                )
                ages.clear()
            if hours and time.monotonic() - started > hours * 3600:
                child.send_signal(signal.SIGTERM)
                hours = 0.0
        listener_over(listener)
    if child.returncode:
        raise SystemExit(f"the run ended with exit code {child.returncode}: {''.join(complaints)[-500:]}")
    return rows


def listener_over(thread: threading.Thread) -> None:
    """Wait for the last complaint."""
    thread.join(30)


def sample(process: int, ages: list[float]) -> dict[str, Any]:
    """Return the state of the process, and the ages of a window."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    ordered = sorted(ages)
    return {
        "rss_kb": int(values["VmRSS"].split()[0]) if "VmRSS" in values else None,
        "threads": int(values["Threads"]),
        "descriptors": len(list(Path(f"/proc/{process}/fd").iterdir())) if "VmRSS" in values else None,
        "age_ms_p50": ordered[len(ordered) // 2],
        "age_ms_p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
    }


def summary(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Return the record: figures of the whole, and every window."""
    rows = [row for row in rows if row["rss_kb"] is not None]
    settled = rows[int(len(rows) * WARM) :]
    per_frame = slope([(row["frames"], row["rss_kb"]) for row in settled])
    flags = f"--frames {args.frames}" + (f" --hours {args.hours:g}" if args.hours else "")
    flags += f" --camera {args.camera} --fps {args.fps:g} --name {args.name}"
    return {
        **stamp(f"scripts/soak.py {flags}"),
        "frames": rows[-1]["frames"],
        "seconds": rows[-1]["seconds"],
        "rss_growth_mb_per_200k": round(per_frame * 200_000 * 1024 / 1e6, 3),
        "goal_mb_per_200k": GOAL_MB,
        "rss_mb_first": round(settled[0]["rss_kb"] * 1024 / 1e6, 1),
        "rss_mb_last": round(rows[-1]["rss_kb"] * 1024 / 1e6, 1),
        "rss_mb_max": round(max(row["rss_kb"] for row in rows) * 1024 / 1e6, 1),
        "threads": sorted({row["threads"] for row in settled}),
        "descriptors": sorted({row["descriptors"] for row in settled}),
        "age_ms_p50": sorted(row["age_ms_p50"] for row in rows)[len(rows) // 2],
        "age_ms_p99_median_window": sorted(row["age_ms_p99"] for row in rows)[len(rows) // 2],
        "age_ms_p99_worst_window": max(row["age_ms_p99"] for row in rows),
        "windows": rows,
    }


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line."""
    n = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


WIDE, HIGH, LEFT, BELOW = 760, 260, 60, 40


def plot(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """Return an SVG: memory over frames, and the ages of each window below it."""
    rows = [row for row in rows if row["rss_kb"] is not None]
    memory = [(row["frames"], row["rss_kb"] * 1024 / 1e6) for row in rows]
    ages = [(row["frames"], row["age_ms_p99"]) for row in rows]
    said = f"{record['rss_growth_mb_per_200k']:+.2f} MB over 200,000 frames (goal: under {GOAL_MB:g})"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {2 * HIGH}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDE}" height="{2 * HIGH}" fill="white"/>',
        *chart(memory, 0, f"resident memory, MB: {said}", "#1f5fa8"),
        *chart(ages, HIGH, "age of a result, ms, p99 of each window", "#b5521b"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def chart(points: list[tuple[float, float]], top: int, title: str, colour: str) -> list[str]:
    """Return one curve with its axes; the vertical one begins at 0, so that small changes look small."""
    most_x, most_y = points[-1][0], max(y for _, y in points) * 1.15
    wide, high = WIDE - LEFT - 20, HIGH - BELOW - 30

    def place(x: float, y: float) -> str:
        return f"{LEFT + wide * x / most_x:.1f},{top + 30 + high * (1 - y / most_y):.1f}"

    lines = [f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{title}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + 30 + high * (1 - share)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + wide}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most_y * share:.3g}</text>')
        x = LEFT + wide * share
        anchor = "end" if share == 1.0 else "middle"
        lines.append(f'<text x="{x:.1f}" y="{top + HIGH - 18}" text-anchor="{anchor}">{int(most_x * share):,}</text>')
    curve = " ".join(place(x, y) for x, y in points)
    return [*lines, f'<polyline points="{curve}" fill="none" stroke="{colour}" stroke-width="1.5"/>']


if __name__ == "__main__":
    raise SystemExit(main())
