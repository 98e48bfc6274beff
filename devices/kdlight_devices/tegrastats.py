"""Reads one line of a Jetson's ``tegrastats``, for the power that the kernel's files do not tell on some releases."""

import os
import re
import select
from pathlib import Path

PROGRAM = "usr/bin/tegrastats"

SECONDS = 2.0
"""How long its first line is waited for; it comes after the interval that is asked for."""

RAIL = re.compile(r"\b((?:VDD|VIN|POM|VDDQ)_?\w*) (\d+)(?:mW)?/\d+(?:mW)?")
"""``VDD_IN 4927mW/4927mW`` (now and on average; JetPack 5 and 6), ``POM_5V_IN 2750/2750`` (JetPack 4)."""


def rails_of(line: str) -> dict[str, float]:
    """Return watts by rail that a line tells (Jetson Linux Developer Guide, tegrastats)."""
    return {name: int(milliwatts) / 1000 for name, milliwatts in RAIL.findall(line)}


def first_line(root: Path) -> str:
    """Let it run for one line; empty on other machines and where it says nothing."""
    program = root / PROGRAM
    if not program.is_file():
        return ""
    import subprocess  # costs 3 ms, and few machines come here

    out, into = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program of the board's own system
            [str(program), "--interval", "100"], stdout=into, stderr=subprocess.DEVNULL
        )
    except OSError:
        os.close(out)
        return ""
    finally:
        os.close(into)
    try:
        ready, _, _ = select.select([out], [], [], SECONDS)
        return os.read(out, 4096).decode(errors="replace").partition("\n")[0] if ready else ""
    finally:
        process.kill()  # it goes on for ever
        process.wait()
        os.close(out)
