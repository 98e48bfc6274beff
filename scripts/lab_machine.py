"""A systemd machine in a container: powered on, cut off, reached over ssh; gone afterwards whatever happens."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

NETWORK = """[Match]
Name=host0
[Network]
Address={address}/24
"""


CONFIG = """Host board
HostName {address}
User root
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
"""


class Board:
    """A systemd machine in a container: powered on, cut off, reached over ssh."""

    patience = 2
    """Seconds that a connection may take until sshd has said its name."""

    def __init__(self, system: Path, folder: Path) -> None:
        number = os.getpid() % 200 + 20
        self.name = f"kdl{os.getpid() % 100_000}"
        self.address, self.gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        self.folder = folder
        self._root = folder / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._prepare(system)

    def _prepare(self, system: Path) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(system), str(self._root)], check=True)
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (self._root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(key.with_suffix(".pub"), self._root / "root/.ssh/authorized_keys")
        host = (self._root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{self.address} {host}")
        self.config.write_text(CONFIG.format(address=self.address, folder=self.folder))
        (self._root / "etc/systemd/network/10-host0.network").write_text(NETWORK.format(address=self.address))
        subprocess.run(
            ["systemctl", f"--root={self._root}", "--quiet", "enable", "systemd-networkd", "ssh"], check=True
        )
        subprocess.run(
            ["systemctl", f"--root={self._root}", "--quiet", "mask", "systemd-networkd-wait-online"], check=True
        )

    def power_on(self) -> None:
        """Boot, and wait until ssh answers."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--directory", str(self._root)]
        with (self.folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, "--boot", "--network-veth", f"--machine={self.name}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
        link = f"ve-{self.name}"
        until(lambda: Path(f"/sys/class/net/{link}").exists(), "the container's network")
        subprocess.run(["ip", "address", "add", f"{self.gateway}/24", "dev", link], check=True)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        until(lambda: self.ask("true", check=False).returncode == 0, "ssh")

    def cut_power(self) -> None:
        """End everything in it at once, as when the plug is pulled."""
        if self._nspawn is None:
            return
        # Its first process is a child of nspawn: when that one dies, the kernel ends every process of the container.
        number = self._nspawn.pid
        for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self._nspawn.wait()
        self._nspawn = None
        until(lambda: not Path(f"/sys/class/net/ve-{self.name}").exists(), "the end of the container")

    def ask(self, command: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command on it."""
        done = subprocess.run([*self._ssh("ssh"), "board", command], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"on the board, {command!r} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def copy(self, *files: Path) -> None:
        """Copy files and folders to its /root."""
        subprocess.run([*self._ssh("scp"), "-qr", *map(str, files), "board:"], check=True)

    def cut_link(self) -> None:
        """Pull the network's cable."""
        subprocess.run(["ip", "link", "set", f"ve-{self.name}", "down"], check=True)

    def mend_link(self) -> None:
        """Put it in again, and wait until ssh answers."""
        subprocess.run(["ip", "link", "set", f"ve-{self.name}", "up"], check=True)
        until(lambda: self.ask("true", check=False).returncode == 0, "ssh")

    @property
    def config(self) -> Path:
        """For ``ssh -F``; the board is called ``board`` there."""
        return self.folder / "config"

    def _ssh(self, program: str) -> list[str]:
        return [program, "-F", str(self.config), "-oBatchMode=yes", f"-oConnectTimeout={self.patience}"]

    def show(self, unit: str = "kdlight-edge.service") -> dict[str, Any]:
        """Return what systemd tells of a service."""
        names = "ActiveState,StatusText,NRestarts,MainPID,ActiveEnterTimestampMonotonic,User,Result"
        told = self.ask(f"systemctl show {unit} --property={names}", check=False).stdout
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def until(ready: Callable[[], object], what: str, limit: float = 120.0) -> float:
    """Wait for something and return the seconds it took."""
    started = time.monotonic()
    while not ready():
        if time.monotonic() - started > limit:
            raise SystemExit(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.05)
    return time.monotonic() - started


@contextlib.contextmanager
def broker(board: Board) -> Iterator[tuple[str, Path]]:
    """Run a mosquitto on the board's network; gives its address, and a file with every message that it passed on."""
    address, log = board.gateway, board.folder / "messages"
    with socket.create_server((address, 0)) as one:
        port = one.getsockname()[1]
    config = board.folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {address}\nallow_anonymous true\nuser root\nmax_queued_messages 0\n"
        f"log_type none\npid_file {board.folder}/mosquitto.pid\n"
    )
    with log.open("wb") as taken, contextlib.ExitStack() as running:

        def start(*command: str, **where: Any) -> None:
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **where)
            running.callback(process.wait)
            running.callback(process.kill)

        start("mosquitto", "-c", str(config))
        until(lambda: not socket.socket().connect_ex((address, port)), "the broker")
        start("mosquitto_sub", "-h", address, "-p", str(port), "-q", "1", "-t", "#", "-F", "%t %p", stdout=taken)
        yield f"{address}:{port}", log


@contextlib.contextmanager
def cleaned_up() -> Iterator[Path]:
    """Give a folder that is gone afterwards, whatever ends this program."""

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    folder = Path(tempfile.mkdtemp(prefix="kdlight-board-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
