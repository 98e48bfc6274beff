"""Signals: the first ends a run within a second, both at one moment too, whatever the main thread waits for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

LIMIT = 20.0
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    content = cv2.imencode(".png", np.full((900, 900, 3), (0, 0, 220), np.uint8))[1].tobytes()
    (folder / "0.png").write_bytes(content)
    for i in range(1, count):
        os.link(folder / "0.png", folder / f"{i}.png")
    return folder


def both_at_once(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Send SIGINT and SIGTERM at one moment; return the exit code and what was said on stderr."""
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    try:
        _, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, err


def test_both_signals_at_one_moment_end_a_folder_without_a_crash(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    command = [*COMMAND, "--folder", str(pictures(tmp_path / "in", 1500)), "--model", str(tiny_bundle()), "--json"]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            code, err = both_at_once(process)
        assert code == 130, err
        assert "terminate" not in err
