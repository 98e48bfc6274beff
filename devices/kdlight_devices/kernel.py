"""Reads what the kernel and the firmware tell in files of one line; a file that is not there tells nothing."""

import contextlib
import re
from pathlib import Path

VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
"""Where a Raspberry Pi has the program that asks its firmware."""

VCGENCMD_SECONDS = 2.0


def read(file: Path) -> str:
    """Return a text file of the kernel; empty where it is not there or may not be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def whole(file: Path) -> int | None:
    """Return the whole number that a file holds; None where it holds none."""
    with contextlib.suppress(ValueError):
        return int(read(file))
    return None


def sized(file: Path, key: str) -> int | None:
    """Return the bytes that a line ``key: 12 kB`` (or ``key: 12``) of a file tells; None where none does."""
    found = re.search(rf"^{key}:\s+(\d+)( kB)?$", read(file), re.MULTILINE)
    return None if found is None else int(found[1]) * (1024 if found[2] else 1)


def boot() -> str:
    """Return the kernel's id of this boot."""
    return read(Path("/proc/sys/kernel/random/boot_id")).strip() or "unknown"


def numbered(folder: Path, prefix: str) -> list[Path]:
    """Return what is called ``prefix0``, ``prefix1``, ... in a folder, in the order of the numbers."""
    return sorted(folder.glob(f"{prefix}[0-9]*"), key=lambda path: int(path.name.removeprefix(prefix)))


def vcgencmd(root: Path, question: str) -> str:
    """Ask a Raspberry Pi's firmware; empty on other machines and where it does not answer."""
    program = next((root / name for name in VCGENCMD if (root / name).is_file()), None)
    if program is None:
        return ""
    import subprocess  # costs 3 ms, and few machines come here

    command = [str(program), question]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program of the board's own system
            command, capture_output=True, text=True, timeout=VCGENCMD_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
