"""The page below a path of another server, as a proxy shows several boards under one name."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge.browser import browser

SECRET = "correct-horse-battery"  # noqa: S105 - of the tests


class Proxy:
    """Passes on what is asked for below ``/boards/wall/``, one request a connection, and nothing else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.elsewhere: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/boards/wall/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as board:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            path = head.split(b" ", 2)[1]
            if not path.startswith(b"/boards/wall/"):
                self.elsewhere.append(path.decode())
                return
            head = head.replace(b" /boards/wall/", b" /", 1)
            board.sendall(re.sub(rb"(?i)\r\nConnection: [^\r]*", b"\r\nConnection: close", head))
            while piece := board.recv(65536):
                client.sendall(piece)

    def close(self) -> None:
        """Answer no more."""
        self._listener.close()


@pytest.fixture
def board(tiny_bundle: Callable[..., Path], tmp_path: Path) -> Iterator[Proxy]:
    token = tmp_path / "token"
    token.write_text(SECRET)
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "scene:crack?size=320x240&fps=20"]
    run = [*command, "--model", str(tiny_bundle()), "--web", "0", "--web-token", str(token)]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        proxy = Proxy(int(process.stderr.readline().split("page on ")[1].split()[0].strip("/").rpartition(":")[2]))
        yield proxy
        proxy.close()
        process.terminate()


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromedriver is missing: apt install chromium-driver")
def test_behind_a_proxy_the_page_stays_below_its_path(board: Proxy) -> None:
    with browser() as window:
        window.open(board.address)
        window.run(f"document.getElementById('token').value = '{SECRET}'; document.querySelector('form').submit()")
        assert window.wait("document.querySelector('figure img')?.naturalWidth") == 320
        assert window.run("return location.href") == board.address
        assert window.wait("document.querySelector('.label .text').textContent") != "no answer yet"
    assert set(board.elsewhere) <= {"/favicon.ico"}
