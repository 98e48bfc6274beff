"""A real mosquitto of one's own for tests: it is stopped, and started again on the same port with the same sessions."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.edge.ports import free_port, listens
from tests.waiting import LIMIT, until

MOSQUITTO = shutil.which("mosquitto", path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is missing: apt install mosquitto")


class Broker:
    """Started by ``with``, ended by its end."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        """Take a folder for its files, and what its configuration says beside them: who may do what."""
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\n{more}user root\nlog_type none\n"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stderr=subprocess.DEVNULL)
        until(lambda: listens(self.port), "mosquitto")

    def stop(self) -> None:
        """End it in good order, so that it saves its sessions."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(LIMIT)
            self.process = None

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
