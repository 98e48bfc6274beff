"""What only a fresh process can tell: how long the first answer takes, and how much memory a run needs."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdlight_edge.errors import KDLightError

_AND_PEAK = (
    "import sys\n"
    "from kdlight_edge.cli import main\n"
    "code = main(sys.argv[1:])\n"
    "from kdlight_edge.meter import peak_rss_bytes\n"
    "print(peak_rss_bytes(), file=sys.stderr)\n"
    "sys.exit(code)\n"
)

PATIENCE = 600
"""Seconds after which a fresh process is given up."""


def cold_start_ms(model: str | os.PathLike[str], picture: bytes, *, engine: str, repeats: int) -> dict[str, Any]:
    """Time ``kdlight-edge infer`` from its start to its first line, in a fresh process each time.

    The files were read before, so they come from the page cache: what is timed is the program, not the disk.

    Returns:
        ``median``, ``min`` and ``max``, milliseconds, and ``runs``.

    Raises:
        KDLightError: the command failed, and the message holds its own; or there is no room for the pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture.jpg")
        _write(file, picture)
        arguments = ["infer", "--source", str(file), "--model", os.fspath(model), "--engine", engine, "--json"]
        command = [sys.executable, "-m", "kdlight_edge.cli", *arguments]
        times = [_first_line_ms(command) for _ in range(repeats + 1)][1:]
    return {"median": statistics.median(times), "min": min(times), "max": max(times), "runs": len(times)}


def folder_peak_rss(model: str | os.PathLike[str], pictures: Sequence[bytes], *, engine: str, count: int) -> int:
    """Return the peak resident memory, bytes, of a fresh ``kdlight-edge infer --folder`` over ``count`` files.

    Raises:
        KDLightError: the command failed, and the message holds its own; or there is no room for the pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            _write(Path(folder, f"{index:05}.jpg"), pictures[index % len(pictures)])
        arguments = ["infer", "--folder", folder, "--model", os.fspath(model), "--engine", engine, "--json"]
        ran = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", _AND_PEAK, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    if ran.returncode:
        raise _failed(ran.returncode, ran.stderr.rstrip().rpartition("\n")[0])
    return int(ran.stderr.split()[-1])


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise KDLightError(
            f"{file} cannot be written ({error.strerror}); make room there or point TMPDIR elsewhere"
        ) from error


def _first_line_ms(command: Sequence[str]) -> float:
    started = time.perf_counter_ns()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - as above
        line = process.stdout.readline() if process.stdout else ""
        taken = (time.perf_counter_ns() - started) / 1e6
        _, complaint = process.communicate(timeout=PATIENCE)
    if process.returncode or not line:
        raise _failed(process.returncode, complaint)
    return taken


def _failed(code: int, complaint: str) -> KDLightError:
    last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
    return KDLightError(f"kdlight-edge infer ended with exit code {code} in a fresh process: {last}")
