"""A real sshd of one's own for tests: a high port on 127.0.0.1, its own keys, its own configuration for the client."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.edge.ports import free_port, listens
from tests.waiting import until

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def missing() -> str:
    """Return why no sshd can be started here; empty when one can."""
    if not Path(SSHD).exists() or not shutil.which("ssh-keygen"):
        return "apt install openssh-server"
    return "" if os.getuid() == 0 else "another user's sshd lets nobody in without PAM"


@dataclass(frozen=True)
class Server:
    """A running sshd."""

    folder: Path
    port: int
    name: str = "board"
    """Of the client's configuration."""

    @property
    def config(self) -> Path:
        """For ``ssh -F``."""
        return self.folder / "config"

    @property
    def known_hosts(self) -> Path:
        """The client's."""
        return self.folder / "known_hosts"

    @property
    def home(self) -> Path:
        """The home of whoever logs in."""
        return self.folder / "home"


@contextlib.contextmanager
def sshd(folder: Path, *, tools: Path | None = None) -> Iterator[Server]:
    """Start one.

    Args:
        folder: an empty one, for keys and logs.
        tools: a folder that comes first on the PATH of whoever logs in.
    """
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copyfile(folder / "client.pub", folder / "authorized")
    (folder / "home").mkdir()
    port = free_port()
    server = Server(folder, port)
    path = f"{tools}:{os.environ['PATH']}" if tools else os.environ["PATH"]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n"
        f"PasswordAuthentication no\nSetEnv PATH={path} HOME={folder}/home\n"
    )
    (folder / "config").write_text(
        f"Host {server.name}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/client\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
    )
    know(server, folder / "host.pub")
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port), "sshd")
            yield server
        finally:
            process.terminate()


def know(server: Server, public: Path) -> None:
    """Let the client expect a key."""
    kind, key = public.read_text().split()[:2]
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")


def cut(server: Server) -> bool:
    """Break every connection, as when a cable is pulled: its processes end, what they started goes on; then true."""
    listener = int((server.folder / "pid").read_text())
    for process in _below(listener):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/comm").read_text().startswith("sshd"):
                os.kill(process, signal.SIGKILL)
    return True


def _below(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
        return children + [other for child in children for other in _below(child)]
    return []
