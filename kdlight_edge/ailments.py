"""What ails a board, each thing with the command that mends it; read from files, so that a captured tree serves too."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdlight_devices.board import Board
from kdlight_devices.kernel import read
from kdlight_devices.telemetry import Telemetry
from kdlight_edge.began import NEWBORN

if TYPE_CHECKING:
    from kdlight_edge.unit import Service

NEARLY_FULL = 200_000_000
"""Bytes below which a disk is nearly full: a bundle, its successor and a journal need as much."""

SLOW_GOVERNORS = frozenset({"powersave"})
"""Governors that hold a board's clock at its lowest; on computers the same name means something else."""


class Ailment(NamedTuple):
    """Something that is wrong."""

    what: str
    mend: str


def find(root: Path, board: Board, seen: Telemetry) -> Iterator[Ailment]:
    """Look for everything that can be wrong with a board; ``root`` is ``/``, or the folder of a captured tree."""
    yield from _taken_cameras(root)
    yield from _heat_and_power(seen)
    yield from _clocks(board, seen)
    yield from _clock_on_the_wall(root, time.time())
    yield from _disk(root)
    yield from _services(root)


def _taken_cameras(root: Path) -> Iterator[Ailment]:
    """A camera has one reader: name the process that has it, of those that this user may look into."""
    for process in sorted(root.glob("proc/[0-9]*"), key=lambda path: int(path.name)):
        held = {name for name in _open_files(process) if name.startswith("/dev/video")}
        if not held or process.name == str(os.getpid()):
            continue
        name = read(process / "comm").strip() or "unnamed"
        ours = "kdlight-edge" in read(process / "cmdline")
        mend = "sudo systemctl stop kdlight-edge (it is the service's)" if ours else f"end it: sudo kill {process.name}"
        yield Ailment(f"{', '.join(sorted(held))} is taken by process {process.name} ({name})", mend)


def _open_files(process: Path) -> Iterator[str]:
    try:
        files = list((process / "fd").iterdir())
    except OSError:
        return
    for file in files:
        try:
            yield str(file.readlink())
        except OSError:  # noqa: PERF203 - one that is closed meanwhile hides no other
            continue


def _heat_and_power(seen: Telemetry) -> Iterator[Ailment]:
    told = seen.throttling
    if "under-voltage" in {*told.reasons, *told.since_boot}:
        mend = "use the power supply that the board's maker sells, and a short cable; then reboot"
        yield Ailment("the board had too little voltage since it was started", mend)
    elif "over-current" in told.since_boot:
        yield Ailment("the board drew too much current since it was started", "sudo nvpmodel -m 1 (a lower power mode)")
    elif told.now:
        yield Ailment(f"the board is slowed down: {', '.join(told.reasons)}", "give it a heat sink or a fan, and air")


def _clocks(board: Board, seen: Telemetry) -> Iterator[Ailment]:
    """A power mode and a governor are choices, so this is told of boards only, where they are seldom meant."""
    if board.target == "cpu":
        return
    if seen.governor in SLOW_GOVERNORS:
        mend = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield Ailment(f"the governor {seen.governor} holds the clock at its lowest", mend)
    limit, most = seen.clock_limit_hz, seen.clock_max_hz
    if limit is not None and most is not None and limit < most:
        held = f"the clock is held to {limit / 1e6:,.0f} of {most / 1e6:,.0f} MHz"
        if board.target == "jetson":
            yield Ailment(f"{held} by the power mode", "sudo nvpmodel -m 0 (sudo nvpmodel -q tells which are there)")
        else:
            yield Ailment(held, "remove arm_freq from /boot/firmware/config.txt, then reboot")


def _clock_on_the_wall(root: Path, now: float) -> Iterator[Ailment]:
    if now < NEWBORN:
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        mend = "sudo timedatectl set-ntp true, or sudo date --set TIME where there is no network"
        yield Ailment(f"the clock says {day}: results would carry it, and signatures could not be judged", mend)
    elif (root / "run/systemd/timesync").is_dir() and not (root / "run/systemd/timesync/synchronized").exists():
        yield Ailment("the clock was not set by the network since the start", "sudo timedatectl set-ntp true")


def _disk(root: Path) -> Iterator[Ailment]:
    for place in ("var/lib", "opt"):
        if not (root / place).is_dir():
            continue
        free = shutil.disk_usage(root / place).free
        if free < NEARLY_FULL:
            mend = "sudo journalctl --vacuum-size=50M; sudo apt-get clean"
            yield Ailment(f"the disk is nearly full: {free / 1e6:,.0f} MB free at /{place}", mend)
            return


def _services(root: Path) -> Iterator[Ailment]:
    from kdlight_edge import unit

    for service in unit.installed(root):
        flag = f" --name {service.name}" if service.name else ""
        install = f"sudo kdlight-edge service install --model NAME.kdl{flag}"
        with contextlib.suppress(PermissionError):  # who may not read its settings cannot tell
            yield from _bundle(service, unit.read_settings(service.settings_file).get("KDLIGHT_MODEL", ""), install)
        if service.unit_file.is_file():
            text = unit.text_of(service.unit_file)
            if unit.edited_by_hand(text):
                mend = f"sudo systemctl edit {service.instance} for the changes, sudo rm {service.unit_file}, {install}"
                yield Ailment(f"{service.unit_file} was edited by hand, and updates do not reach it", mend)
        elif not service.packaged:
            yield Ailment(f"{service.instance} has settings and no unit", install)
        state = _state(service.instance, root)
        if state and state != "active":
            mend = f"sudo systemctl enable --now {service.instance}; kdlight-edge service logs{flag} tells why it ended"
            yield Ailment(f"{service.instance} is {state}", mend)


def _bundle(service: "Service", model: str, install: str) -> Iterator[Ailment]:
    folder = service.root / model.lstrip("/")
    if not (folder / "manifest.json").is_file():
        yield Ailment(f"{service.instance} has no bundle at {model}", install)
    elif not _built(folder, service.root / service.state.lstrip("/")):
        what = f"the TensorRT engine of {model} is not built on this board yet"
        mend = f"sudo systemctl restart {service.instance} (its first start builds it, once, in minutes)"
        yield Ailment(what, mend)


def _built(bundle: Path, state: Path) -> bool:
    """Tell whether what a bundle wants built is: an engine beside it or in the service's state folder."""
    if not _wants_an_engine(bundle):
        return True
    try:
        return any(place.is_dir() and next(place.rglob("*.engine"), None) is not None for place in (bundle, state))
    except OSError:  # the state is the service's own: who may not look cannot tell
        return True


def _wants_an_engine(bundle: Path) -> bool:
    from kdlight_edge.bundle import open_bundle
    from kdlight_edge.errors import KDLightError

    try:
        return open_bundle(bundle).manifest.artifacts[0].format == "tensorrt"
    except KDLightError:
        return False  # another ailment, which verify tells


def _state(instance: str, root: Path) -> str:
    """Return what systemd says of a service; empty where no systemd runs, or another system is asked for."""
    if root != Path("/") or not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return ""
    done = subprocess.run(  # noqa: S603 - a name of our own
        ["systemctl", "is-active", instance],  # noqa: S607 - found on PATH
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()
