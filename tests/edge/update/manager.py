"""A service manager for tests and measurements: restarts a program, and ends one that does not feed its watchdog."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

FINAL = {2, 4, 5}
"""Exit codes after which the unit is not restarted (RestartPreventExitStatus)."""


class Manager:
    """Does for one program what systemd does for the unit: ``Restart=always``, ``RestartSec``, ``WatchdogSec``."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, watchdog: float = 30.0, restart_seconds: float = 1.0
    ) -> None:
        """Take what to run; its stdout and stderr are added to ``folder/out`` and ``folder/log``."""
        self.command, self.folder = list(command), folder
        self.codes: list[int] = []
        """How each run ended."""
        self.process: subprocess.Popen[bytes] | None = None
        self._watchdog, self._restart_seconds = watchdog, restart_seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._manage, name="manager")

    @property
    def log(self) -> str:
        """All that the program told people."""
        return (self.folder / "log").read_text()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the program."""
        if self.process is not None:
            self.process.send_signal(number)

    def __enter__(self) -> "Manager":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the program, and do not restart it."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _manage(self) -> None:
        while not self._over.is_set():
            environ = {
                **os.environ,
                "NOTIFY_SOCKET": str(self.folder / "notify"),
                "WATCHDOG_USEC": str(int(self._watchdog * 1e6)),
            }
            with (self.folder / "out").open("ab") as out, (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(self.command, stdout=out, stderr=log, env=environ)
            self._attend(self.process)
            self.codes.append(self.process.wait())
            if self.codes[-1] in FINAL or self._over.wait(self._restart_seconds):
                return

    def _attend(self, process: "subprocess.Popen[bytes]") -> None:
        fed: float | None = None
        while process.poll() is None:
            try:
                lines = self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                lines = []
            if {"READY=1", "WATCHDOG=1"} & set(lines):
                fed = time.monotonic()
            if fed is not None and time.monotonic() - fed > self._watchdog:
                process.kill()
            if self._over.is_set():
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
