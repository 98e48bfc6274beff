"""The record of a measurement in docs/results: what every one begins with, and how it is written."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kdlight_devices.fingerprint import describe, fingerprint, versions


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
