"""The life of a service on a board in a container: install, hang, kill, power cut, lost camera, uninstall; over ssh."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/surface-crack.kdl"
WATCHDOG_SECONDS = 30
"""As in the units; a hang is over within this and two seconds more."""

NETWORK = """[Match]
Name=host0
[Network]
Address={address}/24
"""


class Board:
    """A systemd machine in a container: powered on, cut off, reached over ssh."""

    def __init__(self, system: Path, folder: Path) -> None:
        number = os.getpid() % 200 + 20
        self.name = f"kdl{os.getpid() % 100_000}"
        self.address, self._gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        self._folder = folder
        self._root = folder / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._prepare(system)

    def _prepare(self, system: Path) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(system), str(self._root)], check=True)
        key = self._folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (self._root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(key.with_suffix(".pub"), self._root / "root/.ssh/authorized_keys")
        host = (self._root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        (self._folder / "known_hosts").write_text(f"{self.address} {host}")
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
        with (self._folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, "--boot", "--network-veth", f"--machine={self.name}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
        link = f"ve-{self.name}"
        until(lambda: Path(f"/sys/class/net/{link}").exists(), "the container's network")
        subprocess.run(["ip", "address", "add", f"{self._gateway}/24", "dev", link], check=True)
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
        done = subprocess.run(
            [*self._ssh("ssh"), f"root@{self.address}", command], capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise SystemExit(f"on the board, {command!r} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def copy(self, *files: Path) -> None:
        """Copy files and folders to its /root."""
        subprocess.run([*self._ssh("scp"), "-qr", *map(str, files), f"root@{self.address}:"], check=True)

    def _ssh(self, program: str) -> list[str]:
        options = {"UserKnownHostsFile": self._folder / "known_hosts", "BatchMode": "yes", "ConnectTimeout": 2}
        flags = [f"-o{name}={value}" for name, value in options.items()]
        return [program, "-F", "none", "-i", str(self._folder / "key"), *flags]

    def show(self, unit: str = "kdlight-edge.service") -> dict[str, Any]:
        """Return what systemd tells of a service."""
        names = "ActiveState,StatusText,NRestarts,MainPID,ActiveEnterTimestampMonotonic,User,Result"
        told = self.ask(f"systemctl show {unit} --property={names}", check=False).stdout
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def until(ready: Callable[[], object], what: str, limit: float = 60.0) -> float:
    """Wait for something and return the seconds it took."""
    started = time.monotonic()
    while not ready():
        if time.monotonic() - started > limit:
            raise SystemExit(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.05)
    return time.monotonic() - started


def serving(board: Board, restarts: int) -> Callable[[], bool]:
    """Return a question: does the service give results, after so many restarts?"""

    def ask() -> bool:
        shown = board.show()
        return (
            shown.get("ActiveState") == "active"
            and shown["NRestarts"] == str(restarts)
            and "frames/s" in shown["StatusText"]
        )

    return ask


def say(what: str, seconds: float | None = None) -> None:
    """Print one line of the log."""
    print(f"{what:<62}" + ("" if seconds is None else f"{seconds:8.2f} s"), flush=True)


def expect(truth: object, what: str) -> None:
    """End with a failure unless something is so."""
    if not truth:
        raise SystemExit(f"FAILED: {what}")


def live(board: Board, wheels: Path) -> None:
    """Let the board live through everything."""
    say("power on to ssh", timed(board.power_on))
    board.copy(wheels, MODEL)
    say("environment and program installed", timed(lambda: install_program(board, wheels.name)))
    command = f"service install --model {MODEL.name} --source scene:crack"
    say("service install to ready", timed(lambda: program(board, command)))
    say("first results told", until(serving(board, 0), "results"))
    say(f"  {board.show()['StatusText']}")
    say(f"  runs as {board.ask('ps -o user= -p ' + board.show()['MainPID']).stdout.strip()}")
    again = program(board, command)
    expect("write " not in again and "copy " not in again, f"a second install changes nothing, not {again!r}")
    hang(board)
    killed(board)
    power_cut(board)
    writes(board)
    lost_camera(board)
    uninstall(board)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def install_program(board: Board, wheels: str) -> None:
    """Make the environment as the set-up scripts do, from the wheels brought along."""
    board.ask("python3 -m venv /opt/kdlight-edge")
    pip = f"/opt/kdlight-edge/bin/pip install --quiet --no-index --find-links {wheels} 'kdlight-edge[runtime]'"
    board.ask(pip)
    say(f"  /opt/kdlight-edge takes {board.ask('du -sm /opt/kdlight-edge').stdout.split()[0]} MB")


def program(board: Board, arguments: str) -> str:
    """Run kdlight-edge on the board and return what it told."""
    return board.ask(f"/opt/kdlight-edge/bin/kdlight-edge {arguments}").stderr


def hang(board: Board) -> None:
    """Stop the engine's process: the watchdog must see it."""
    board.ask(f"kill -STOP {board.show()['MainPID']}")
    stopped = time.monotonic()
    until(lambda: board.show().get("NRestarts") == "1", "the watchdog", WATCHDOG_SECONDS + 10)
    seconds = time.monotonic() - stopped
    say(f"SIGSTOP to restarted by the watchdog (WatchdogSec={WATCHDOG_SECONDS})", seconds)
    expect(seconds < WATCHDOG_SECONDS + 2, "a hang is over within WatchdogSec + 2 s")
    say("  to results again", until(serving(board, 1), "results"))
    log = board.ask("journalctl -u kdlight-edge --no-pager").stdout
    expect("Watchdog timeout" in log, "the journal names the watchdog")
    expect("Fatal Python error: Aborted" in log, "the journal tells where it hung")


def killed(board: Board) -> None:
    """Kill the process."""
    board.ask(f"kill -9 {board.show()['MainPID']}")
    say("kill -9 to results again", until(serving(board, 2), "results"))


def power_cut(board: Board) -> None:
    """Pull the plug and put it in again."""
    board.cut_power()
    started = time.monotonic()
    board.power_on()
    until(serving(board, 0), "results")
    say("power cut: power on to results told", time.monotonic() - started)
    shown = board.show()
    expect(shown["Result"] == "success", "the service came back by itself")


def writes(board: Board) -> None:
    """Count what the service writes to the disk while it works."""

    def written() -> int:
        text = board.ask(f"cat /proc/{board.show()['MainPID']}/io").stdout
        return int(text.split("\nwrite_bytes:")[1].split()[0])

    first = written()
    time.sleep(10)  # a span of work to count in, not a wait for something
    say(f"bytes written to disk: {first:,} by the start, {written() - first:,} in 10 s of work")


def lost_camera(board: Board) -> None:
    """Give it a camera that is not there: it must stay ready by golden pictures, without a restart."""
    program(board, "service install --source http://127.0.0.1:9/none.mjpg")
    until(lambda: "no camera" in board.show().get("StatusText", ""), "the status of a lost camera")
    say(f"  {board.show()['StatusText']}")
    time.sleep(WATCHDOG_SECONDS + 5)  # longer than the watchdog lets a silent service live
    shown = board.show()
    expect(shown["NRestarts"] == "0" and shown["ActiveState"] == "active", f"no restart without a camera, not {shown}")
    say(f"no camera for {WATCHDOG_SECONDS + 5} s: no restart, the engine is proved by golden pictures")


def uninstall(board: Board) -> None:
    """Take everything away."""
    program(board, "service uninstall --purge")
    left = board.ask("find /etc /var/lib /opt/kdlight-edge/models -name '*kdlight*' 2>/dev/null", check=False).stdout
    expect(not left.strip(), f"nothing is left, not {left!r}")
    expect(board.show()["ActiveState"] == "inactive", "the service is gone")
    say("uninstalled; nothing is left")


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


def main() -> int:
    """Run it; 1 when something is not as it should be."""
    lab = Path(sys.argv[1])
    with cleaned_up() as folder:
        board = Board(lab / "board", folder)
        try:
            live(board, lab / "wheels-x86")
        except KeyboardInterrupt:
            print("stopped; nothing is left of it", file=sys.stderr)
            return 130
        except BaseException:
            console = (folder / "console").read_text(errors="replace") if (folder / "console").exists() else ""
            print(console[-2000:], json.dumps(board.show()), sep="\n", file=sys.stderr)
            raise
        finally:
            board.cut_power()
    say("all of it passed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
