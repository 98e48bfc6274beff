"""A folder on the board in which a benchmark lives: program, bundle, and jobs that go on when the link is cut."""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlight_edge.errors import KDLightError

from . import ssh
from .ssh import Host, LinkCut

NEEDED_MB = 600
"""Free space for a virtual environment with the runtime and its wheels."""

PYTHON = (3, 10)

BOOT = "cat /proc/sys/kernel/random/boot_id"
"""A process number means nothing after the board was started again."""

PROBE = r"""
echo "home=$HOME"; echo "uid=$(id -u)"
echo "free_mb=$(df -Pm "$HOME" | awk 'NR == 2 { print $4 }')"
echo "python=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
echo "venv=$(python3 -c 'import venv, ensurepip; print("yes")' 2>/dev/null)"
echo "sudo=$(command -v sudo >/dev/null && { sudo -n true 2>/dev/null && echo yes || echo asks; } || echo missing)"
echo "governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
echo "jetson=$(ls /etc/nv_tegra_release 2>/dev/null)"
"""
"""Asked of the board first, in one connection."""

LISTING = (
    'find "$HOME" -xdev -maxdepth 3 2>/dev/null; find /tmp /var/tmp /dev/shm -xdev -name "kdlight-bench*" 2>/dev/null'
)
"""What lies where something of ours could be left; compared before and after."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Site:
    """The folder and the program in it."""

    host: Host
    folder: str
    """Absolute, on the board."""
    program: str
    """The command ``kdlight-edge`` there."""
    python: str
    """The interpreter that has its packages."""


def probe(host: Host) -> dict[str, str]:
    """Ask what the board is and has."""
    lines = ssh.ask(host, PROBE, "the first look").splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def check(host: Host, found: dict[str, str]) -> None:
    """Refuse a board on which no environment can be made.

    Raises:
        KDLightError: its Python is missing or too old, python3-venv is missing, or there is too little space.
    """
    if not found.get("python"):
        raise KDLightError(f"{host.name} has no python3; sudo apt install python3 python3-venv")
    if tuple(map(int, found["python"].split(".")[:2])) < PYTHON:
        raise KDLightError(
            f"{host.name} has Python {found['python']}, {'.'.join(map(str, PYTHON))} is needed; Raspberry Pi OS 12 and "
            "JetPack 6 bring it, or name an installed program with --use"
        )
    if found.get("venv") != "yes":
        raise KDLightError(f"{host.name} lacks python3-venv; sudo apt install python3-venv")
    if int(found["free_mb"]) < NEEDED_MB:
        raise KDLightError(
            f"{host.name} has {found['free_mb']} MB free in {found['home']}, {NEEDED_MB} MB are needed; make room, "
            "or name an installed program with --use"
        )


def make(
    host: Host, folder: str, found: dict[str, str], files: Sequence[Path], wheels: Path | None, use: str | None
) -> Site:
    """Copy everything and make the environment; what is whole already is left alone.

    Args:
        host: the board.
        folder: absolute, on the board; everything goes there.
        found: of `probe`.
        files: the bundle, the wheel, data.
        wheels: a folder with the wheels of the dependencies; None lets the board's pip fetch them.
        use: a program that is installed there; then no environment is made.
    """
    quoted = shlex.quote(folder)
    ssh.ask(host, f"mkdir -p -m 700 {quoted}/temp {quoted}/out", "making a folder")
    whole = ssh.run(host, f"[ -e {quoted}/ready ]").returncode == 0
    if not whole:
        ssh.copy(host, [*files, *([wheels] if wheels else [])], folder)
    if use is not None:
        python = _interpreter(host, use)
        ssh.ask(host, f"touch {quoted}/ready", "making a folder")
        return Site(host, folder, use, python)
    if not whole:
        wheel = next(file.name for file in files if file.suffix == ".whl")
        system = " --system-site-packages" if found.get("jetson") else ""  # TensorRT is the system's
        source = f" --no-index --find-links {shlex.quote(wheels.name)}" if wheels else ""
        pip = f"venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile{source}"
        command = f"{environment(folder)} && cd {quoted} && python3 -m venv{system} venv"
        command += f" && {pip} {shlex.quote(f'./{wheel}[runtime]')} && touch ready"
        ssh.ask(host, command, "making the environment")
    return Site(host, folder, f"{folder}/venv/bin/kdlight-edge", f"{folder}/venv/bin/python")


def _interpreter(host: Host, program: str) -> str:
    """Return the interpreter that an installed program is run by."""
    path = ssh.run(host, f"command -v {shlex.quote(program)}").stdout.strip()
    if not path or ssh.run(host, f"{shlex.quote(program)} --version").returncode:
        raise KDLightError(f"{host.name} has no working {program}; leave --use out, or install it there")
    first = ssh.run(host, f'head -n 1 "$(readlink -f {shlex.quote(path)})"').stdout.strip()
    return first.removeprefix("#!").strip() if first.startswith("#!/") else "python3"


def environment(folder: str) -> str:
    """Return the shell's settings that keep every file inside the folder; pip asks programs that write to the home."""
    temp = shlex.quote(f"{folder}/temp")
    return f"export HOME={temp} TMPDIR={temp} PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 LC_ALL=C.UTF-8"


def look(site: Site) -> dict[str, Any]:
    """Return the fingerprint of the board: machine and versions, clocks as they are."""
    out = ssh.ask(
        site.host, f"{environment(site.folder)}; {site.python} -m kdlight_devices.fingerprint", "the fingerprint"
    )
    found: dict[str, Any] = json.loads(out)
    return found


def start(site: Site, name: str, arguments: Sequence[str]) -> str:
    """Start a command of the program that outlives the connection; its answer goes to ``out/NAME.part``."""
    line = shlex.join([site.program, *arguments])
    inner = shlex.quote(f"{line} >out/{name}.part 2>out/{name}.log; echo $? >out/{name}.code")
    command = (
        f"{environment(site.folder)}; cd {shlex.quote(site.folder)} && rm -f out/{name}.* && {{ "
        f"setsid nohup sh -c {inner} </dev/null >/dev/null 2>&1 & "
        f"echo $! >out/{name}.pid; {BOOT} >out/{name}.boot; }}"
    )
    return ssh.ask(site.host, command, f"starting {name}")


def state(site: Site, name: str) -> str:
    """Return ``done``, ``running``, or ``gone`` (never started, or ended with the board)."""
    command = (
        f"cd {shlex.quote(site.folder)} 2>/dev/null || {{ echo gone; exit; }}; "
        f"if [ -e out/{name}.code ]; then echo done; {_if_alive(name)} then echo running; else echo gone; fi"
    )
    return ssh.ask(site.host, command, "asking for a job").strip()


def _if_alive(name: str) -> str:
    same = f'[ "$(cat out/{name}.boot 2>/dev/null)" = "$({BOOT})" ]'
    return f'elif {same} && kill -0 "$(cat out/{name}.pid)" 2>/dev/null;'


def wait(site: Site, name: str) -> str:
    """Wait for a job in one connection, so that the measured board is left in peace; return its last `state`."""
    command = (
        f"cd {shlex.quote(site.folder)} || exit 0; while [ ! -e out/{name}.code ] && "
        f'kill -0 "$(cat out/{name}.pid)" 2>/dev/null; do sleep 1; done'
    )
    ssh.ask(site.host, command, f"waiting for {name}")
    return state(site, name)


def fetch(site: Site, name: str) -> dict[str, Any]:
    """Return the answer of a job that is done.

    Raises:
        KDLightError: it failed; the message holds its last line.
    """
    quoted = shlex.quote(site.folder)
    code = ssh.ask(site.host, f"cat {quoted}/out/{name}.code", "reading a job").strip()
    if code != "0":
        command = f"tail -n 1 {quoted}/out/{name}.log; rm {quoted}/out/{name}.code"
        log = ssh.ask(site.host, command, "reading a log").strip()
        raise KDLightError(f"{name} ended with {code} on {site.host.name}: {log or 'it said nothing'}")
    found: dict[str, Any] = json.loads(ssh.ask(site.host, f"cat {quoted}/out/{name}.part", "reading a job"))
    return found


def patiently(action: Callable[[], str], seconds: float, say: Say) -> str:
    """Do something over a link that may be cut, again and again until it has been gone for some time.

    Raises:
        LinkCut: it stayed away.
    """
    lost: float | None = None
    while True:
        try:
            return action()
        except LinkCut as cut:  # noqa: PERF203 - one round lasts a second or a scenario
            now = time.monotonic()
            if lost is None:
                lost = now
                say(f"{cut}; waiting up to {seconds:.0f} s for it (the board goes on by itself)")
            if now - lost >= seconds:
                raise
            time.sleep(1.0)


def clear(site: Site) -> list[str]:
    """Take the folder away, and what of ours still runs in it; return what lies on the board then, see `LISTING`."""
    quoted = shlex.quote(site.folder)
    command = (
        f"cat {quoted}/out/*.pid 2>/dev/null | while read -r n; do kill -TERM -- -$n 2>/dev/null; done; rm -rf {quoted}"
    )
    ssh.run(site.host, command)
    return ssh.run(site.host, LISTING).stdout.splitlines()
