"""The record of a measurement in docs/results: what every one begins with, and how it is written."""

import itertools
import json
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdlight_devices.fingerprint import describe, fingerprint, versions

PLACES = {
    "--data": "DIR", "--work": "DIR", "--keep": "DIR", "--folder": "DIR", "--cache": "DIR",
    "--teacher-weights": "FILE", "--ultralytics": "PYTHON",
}  # fmt: skip
"""Flags that name a place of one machine, and what is told of it."""


def typed() -> str:
    """Return the command that runs, as it was typed but for the places of this machine."""
    program, *words = sys.argv
    told = [PLACES.get(before, word) for before, word in itertools.pairwise(["", *words])]
    return shlex.join([f"scripts/{Path(program).name}", *told])


def stamp(command: str) -> dict[str, Any]:
    """Return when figures were taken, by which command, on which machine and with which versions."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe(fingerprint()),
        "versions": versions(),
    }


def write_record(file: Path, command: str, **figures: Any) -> dict[str, Any]:
    """Write figures with their stamp, of which they may say a part in another way, and return the record."""
    record = {**stamp(command), **figures}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record
