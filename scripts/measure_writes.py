#!/usr/bin/env python3
"""Count what a service writes to its disk in an hour, by configuration, and write docs/results/writes.json.

usage: scripts/measure_writes.py [--model NAME.kdl] [--seconds 60] [--fps 5]

The kernel counts (proc(5), write_bytes of /proc/PID/io: what the process sent to a block device; memory file systems do
not count). Each configuration is the unit's command line with stdout to nowhere; what the start wrote is told apart.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from records import typed, write_record

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "writes.json"
WARM = 5.0
"""Seconds after it has said that it is ready, after which a start is over."""


def configurations(folder: Path, memory: Path, port: int) -> list[tuple[str, list[str], Path | None]]:
    """Return names for people, flags of ``infer``, and the folder in memory where systemd gives one."""
    device = ["--mqtt-device", "x", "--mqtt-store"]
    there, away = ["--mqtt", f"mqtt://127.0.0.1:{port}", *device], ["--mqtt", "mqtt://127.0.0.1:1", *device]
    return [
        ("as installed: no options", [], memory),
        ("`--metrics`", ["--metrics", "0"], memory),
        ("`--mqtt`", [*there, f"{folder}/box.sqlite"], memory),
        ("`--mqtt`, the broker away all the time", [*away, f"{folder}/away.sqlite"], memory),
        ("`--mqtt`, started by hand and not as a service", [*there, f"{folder}/hand.sqlite"], None),
        ("`--json-file --rotate 10MB`", ["--json-file", f"{folder}/lines", "--rotate", "10MB"], memory),
    ]


def measure(
    name: str, flags: list[str], memory: Path | None, model: Path, fps: float, seconds: float
) -> dict[str, Any]:
    """Run one configuration, and return a row."""
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--source", f"scene:crack?fps={fps:g}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {} if memory is None else {"RUNTIME_DIRECTORY": str(memory)}
    ready, listening = told()
    environment["NOTIFY_SOCKET"] = listening
    process = subprocess.Popen(
        [*command, "--model", str(model), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        with ready:
            while b"READY=1" not in ready.recv(4096):
                pass
        time.sleep(WARM)
        start = written(process.pid)
        time.sleep(seconds)
        steady = written(process.pid) - start
    finally:
        process.terminate()
        process.wait()
    return {"what": name, "start_bytes": start, "bytes_per_hour": round(steady * 3600 / seconds), "fps": fps}


def told() -> tuple[socket.socket, str]:
    """Listen as systemd does; return the socket and its name."""
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.settimeout(120)
    ready.bind("")  # the kernel gives it a name of no file
    return ready, ready.getsockname().decode().replace("\0", "@", 1)


def written(number: int) -> int:
    """Return what the kernel has counted of a process."""
    lines = Path(f"/proc/{number}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Count disk writes; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="counted a configuration (default 60)")
    parser.add_argument("--fps", type=float, default=5.0, metavar="N", help="results a second (default 5)")
    args = parser.parse_args()
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise SystemExit("mosquitto is missing: apt install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Not in /tmp, which is in memory on some systems.
    with tempfile.TemporaryDirectory(prefix="kdlight-writes-", dir=Path.home()) as folder:
        broker = subprocess.Popen([program, "-p", str(port)], stderr=subprocess.DEVNULL)
        memory = Path("/dev/shm", Path(folder).name)  # noqa: S108 - a file system in memory is what is measured
        memory.mkdir()
        try:
            rows = [
                measure(name, flags, runtime, args.model, args.fps, args.seconds)
                for name, flags, runtime in configurations(Path(folder), memory, port)
            ]
        finally:
            broker.terminate()
            broker.wait()
            shutil.rmtree(memory)
    write_record(RESULTS, typed(), seconds=args.seconds, rows=rows)
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
