"""Signals: the first ends a run within a second, both at one moment too, whatever the main thread waits for."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.signals import stopped_by_signals

LIMIT = 20.0
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """Let children have the signals that nohup, or a shell's background, makes pytest and all below it ignore."""
    ordinary = ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL))
    before = [signal.signal(number, handler) for number, handler in ordinary]
    yield
    for (number, _), handler in zip(ordinary, before, strict=True):
        signal.signal(number, handler)


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


def test_the_first_signal_sets_the_event_and_the_second_aborts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(LIMIT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def on_a_terminal(command: list[str]) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a command on a terminal of its own; return it and the other end, whose closing hangs up."""
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - one call, that takes no lock
    )
    os.close(theirs)
    return process, ours


def test_a_terminal_that_goes_away_ends_a_run_as_every_signal_does(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    camera = [*COMMAND, "--camera", "scene:crack?size=64x64&fps=50", "--model", str(tiny_bundle())]
    process, terminal = on_a_terminal([*camera, "--audit", str(tmp_path / "audit"), "--sheet", str(tmp_path / "s.png")])
    with process:
        while b" #5 " not in os.read(terminal, 4096):
            pass
        os.close(terminal)
        process.send_signal(signal.SIGHUP)  # as the shell sends it once more
        try:
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
    assert '"event": "close"' in (tmp_path / "audit").read_text().splitlines()[-1]
    assert (tmp_path / "s.png").is_file()


def test_nohup_lets_a_run_go_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.wait(0.1)
    finally:
        signal.signal(signal.SIGHUP, before)


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


WAITING = """
import os, queue, signal, threading
from kdlight_edge.signals import stopped_by_signals

def at_once():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

for trial in range(50):
    bell = queue.Queue()
    try:
        with stopped_by_signals() as stop:
            threading.Thread(target=lambda: (stop.wait(), bell.put(None))).start()
            threading.Timer(0.002 * (trial % 5), at_once).start()
            bell.get()
            threading.Event().wait(5)
        raise SystemExit("the second signal was not seen")
    except KeyboardInterrupt:
        pass
"""


def test_both_signals_at_one_moment_are_seen_while_the_main_thread_waits_without_end() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_signals_at_one_moment_end_a_listener_that_nobody_calls(tiny_bundle: Callable[..., Path]) -> None:
    pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
    command = [*COMMAND, "--camera", "dicom://127.0.0.1:0", "--model", str(tiny_bundle())]
    for seconds in (0.0, 1.0, 1.5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "listening" in process.stderr.readline()
            time.sleep(seconds)
            code, err = both_at_once(process)
        assert code in {0, 130}, err


def test_a_video_file_stopped_before_its_end_says_so_by_its_exit_code(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    for _ in range(1000):
        writer.write(np.zeros((480, 640, 3), np.uint8))
    writer.release()
    command = [*COMMAND, "--source", str(clip), "--model", str(tiny_bundle()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        err = process.stderr.read()
    assert process.returncode == 130
    assert f"stopped after {len(lines):,} pictures" in err
