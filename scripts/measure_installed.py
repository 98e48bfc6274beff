#!/usr/bin/env python3
"""Weigh what a Raspberry Pi gets installed, package by package, from its wheels, and write docs/results/installed.json.

usage: scripts/measure_installed.py [--wheels .lab/wheels-arm64]

scripts/lab-arm64 downloads the wheels. Counted are the files that pip unpacks, in whole blocks of 4 kB as on a card;
the byte code that Python adds is told apart, compiled by the Python that runs this.
"""

import argparse
import compileall
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from datetime import datetime, timezone
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

from kdlight_devices.fingerprint import describe, fingerprint

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "installed.json"
EXTRAS = {"runtime": "infer and everything around it", "mqtt": "`--mqtt`", "update": "`update`, `bundle sign`"}
PI = {"platform_machine": "aarch64", "sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}
BLOCK = 4096


def main() -> int:
    """Weigh and write."""
    parser = argparse.ArgumentParser(description="Weigh an installation; see the file's own first lines.")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".lab/wheels-arm64", metavar="DIR")
    folder = parser.parse_args().wheels
    wheels = {canonical(wheel.name.split("-")[0]): wheel for wheel in sorted(folder.glob("*.whl"))}
    if "kdlight-edge" not in wheels:
        raise SystemExit(f"{folder} holds no wheels; scripts/lab-arm64 brings them")
    rows, seen, total, code = [], set[str](), 0, 0
    for extra, purpose in EXTRAS.items():
        names = [name for name in needed(wheels, extra) if name not in seen]
        seen.update(names)
        sizes = {name: weigh(wheels[name]) for name in names}
        total += sum(size for size, _ in sizes.values())
        code += sum(compiled for _, compiled in sizes.values())
        parts = sorted(sizes.items(), key=lambda entry: -entry[1][0])
        told = ", ".join(f"{name} {wheels[name].name.split('-')[1]} {size / 1e6:.1f} MB" for name, (size, _) in parts)
        rows.append(
            {"what": f"`[{extra}]`, for {purpose}: {told}", "value": f"{mb(sum(s for s, _ in sizes.values()))}"}
        )
    rows.append({"what": "together", "value": mb(total)})
    rows.append({"what": "byte code of all of it, made at the first start or by the Debian package", "value": mb(code)})
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "scripts/measure_installed.py",
        "machine": f"{describe(fingerprint())}, wheels for aarch64 and Python 3.11",
        "rows": [{**row, "goal": ""} for row in rows],
    }
    RESULTS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0


def mb(size: int) -> str:
    """Return bytes for people."""
    return f"{size / 1e6:,.1f} MB"


def canonical(name: str) -> str:
    """Return a name as packages are compared by (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(wheels: dict[str, Path], extra: str) -> list[str]:
    """Return every package that an extra of ours brings to a Pi, ours first."""
    found, queue = list[str](), deque([("kdlight-edge", extra)])
    done = set[tuple[str, str]]()
    while queue:
        name, of = queue.popleft()
        if (name, of) in done:
            continue
        done.add((name, of))
        if name not in wheels:
            raise SystemExit(f"the wheel of {name} is missing; scripts/lab-arm64 brings it")
        if name not in found:
            found.append(name)
        with zipfile.ZipFile(wheels[name]) as wheel:
            file = next(entry for entry in wheel.namelist() if entry.endswith(".dist-info/METADATA"))
            told = Parser().parsestr(wheel.read(file).decode())
        for text in told.get_all("Requires-Dist") or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({**PI, "extra": of}):
                queue.extend((canonical(wanted.name), one) for one in wanted.extras or {""})
    return found


def weigh(wheel: Path) -> tuple[int, int]:
    """Return what a wheel takes unpacked, and what its byte code takes beside it, both in whole blocks."""
    with tempfile.TemporaryDirectory(prefix="kdlight-weigh-") as folder:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, folder], check=True)
        size = blocks(Path(folder))
        compileall.compile_dir(folder, quiet=2)
        return size, blocks(Path(folder)) - size


def blocks(folder: Path) -> int:
    """Return what the files below a folder take on a disk."""
    return sum(-(-file.stat().st_size // BLOCK) * BLOCK for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    raise SystemExit(main())
