#!/usr/bin/env python3
"""Measure what the runtime weighs before it classifies anything, and write docs/results/footprint.json.

usage: scripts/measure_footprint.py [--model NAME.kdl]

The wheel is built and installed with the light runtime's packages into a new environment; the times are those of
processes started there.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path
from typing import Any

from records import typed, write_record

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "footprint.json"
STARTS = 15


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the runtime's weight; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kdlight-footprint-") as folder:
        wheel = build(Path(folder))
        light = Path(folder, "light")
        install(light, wheel)
        program = light / "bin" / "kdlight-edge"
        modules = subprocess.run(
            [light / "bin" / "python", "-c", "import kdlight_edge, sys; print('torch' in sys.modules)"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        helps = [seconds(program, "--help") for _ in range(STARTS)]
        bench = subprocess.run([program, "bench", args.model, "--json"], capture_output=True, text=True, check=True)
        weighed = rows(wheel, light, helps, json.loads(bench.stdout), torch=modules.stdout.strip() == "True")
    write_record(RESULTS, typed(), rows=weighed)
    print(RESULTS)
    return 0


def build(folder: Path) -> Path:
    """Build the wheel."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


def runtime_bytes(wheel: Path) -> int:
    """Return the compressed bytes of what runs on a board."""
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    wanted = ("kdlight_edge/", "kdlight_devices/")
    return sum(entry.compress_size for entry in entries if entry.filename.startswith(wanted))


def install(folder: Path, wheel: Path) -> None:
    """Make an environment with the wheel and the light runtime."""
    venv.create(folder, with_pip=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, f"{wheel}[runtime]"], check=True)


def seconds(*command: str | Path) -> float:
    """Return the wall time of a process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def rows(wheel: Path, light: Path, helps: list[float], bench: dict[str, Any], *, torch: bool) -> list[dict[str, str]]:
    """Return what was measured, with the goal."""
    packages = sum(file.stat().st_size for file in light.rglob("site-packages/*/**/*") if file.is_file())
    cold, memory = bench["cold_start_ms"]["median"], bench["peak_rss_bytes"]
    measured = [
        ("wheel, all four packages", f"{wheel.stat().st_size / 1000:.0f} kB", ""),
        (
            "of it the runtime (`kdlight_edge`, `kdlight_devices`)",
            f"{runtime_bytes(wheel) / 1000:.0f} kB",
            "under 200 kB",
        ),
        ("packages of the light environment on disk", f"{packages / 1e6:.0f} MB", ""),
        ("torch imported by the runtime", "yes" if torch else "no", "no"),
        ("`kdlight-edge --help`", f"{statistics.median(helps):.3f} s", "under 0.3 s"),
        ("cold start to first result", f"{cold / 1000:.2f} s", "under 0.7 s"),
        ("peak memory of a folder run", f"{memory / 1e6:.0f} MB", "under 130 MB"),
    ]
    return [{"what": what, "value": value, "goal": goal} for what, value, goal in measured]


if __name__ == "__main__":
    raise SystemExit(main())
