"""How a board feels now: heat, clocks, throttling, power, memory and disk writes, read from the kernel's own files."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdlight_devices.detect import read

FIRMWARE_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of a Raspberry Pi's ``get_throttled``, now; the same 16 bits higher, since it was started.

Source: Raspberry Pi documentation, vcgencmd.
"""

FIRMWARE_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""The same word in hexadecimal, without a process to start; Raspberry Pi's own kernel has it."""

VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
VCGENCMD_SECONDS = 2.0

BRAKES = re.compile(r"throttle-alert|cpufreq|devfreq|^Processor$", re.IGNORECASE)
"""Cooling devices that slow the chip down: Jetson Linux's alerts, the kernel's clock limits, ACPI. Fans are others."""

CHIP_ZONE = re.compile(r"cpu|gpu|soc|tj|cv\d|pkg|bcm", re.IGNORECASE)
"""Thermal zones that lie on the chip (``cpu-thermal``, ``GPU-therm``, ``tj-thermal``, ``x86_pkg_temp``)."""

CONSTANT_ZONE = "PMIC-Die"
"""A Jetson Nano and TX2 always say 100 degrees here: a placeholder, not a reading."""

INPUT_RAILS = ("VDD_IN", "POM_5V_IN")
"""The INA3221 channel that carries all of a Jetson's power: Orin NX, Orin Nano and Xavier NX; Nano."""

AGX_ORIN_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
"""An AGX Orin has no such channel: its module's power is the sum of these (Jetson Linux Developer Guide)."""

CHANNELS = (1, 2, 3)
"""Of an INA3221; further entries of its driver are sums and shunt voltages."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """Whether the board slows the program down."""

    now: bool | None
    """None where nothing on this machine tells."""
    reasons: tuple[str, ...] = ()
    """Why, at this moment."""
    since_boot: tuple[str, ...] = ()
    """What has happened since the board was started (only firmware and over-current counters remember)."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One look at a board; what it does not tell is None or empty."""

    celsius: float | None
    """The hottest zone of the chip, or the hottest of all where none is named after it."""
    zones: Mapping[str, float]
    """Degrees Celsius by thermal zone."""
    throttling: Throttling
    governor: str | None
    clock_hz: int | None
    """Of the slowest core at this moment."""
    clock_limit_hz: int | None
    """What the kernel allows now; a power mode may hold it below `clock_max_hz`."""
    clock_max_hz: int | None
    watts: float | None
    """Of the whole module."""
    rails: Mapping[str, float]
    """Watts by rail."""
    memory_available_bytes: int | None
    process_bytes: int | None
    """Resident memory of this process."""
    written_bytes: int | None
    """What this process has sent to a disk since it was started."""


def look(root: Path = Path("/")) -> Telemetry:
    """Read everything once.

    Args:
        root: where ``proc``, ``sys`` and ``usr`` are; another folder than ``/`` for a tree captured elsewhere.
    """
    zones, rails = temperatures(root), rails_watts(root)
    clocks = root / "sys/devices/system/cpu/cpu0/cpufreq"
    return Telemetry(
        celsius=chip_celsius(zones),
        zones=zones,
        throttling=throttling(root),
        governor=read(clocks / "scaling_governor").strip() or None,
        clock_hz=_slowest_core(root),
        clock_limit_hz=_kilo(clocks / "scaling_max_freq"),
        clock_max_hz=_kilo(clocks / "cpuinfo_max_freq"),
        watts=module_watts(rails),
        rails=rails,
        memory_available_bytes=_sized(root / "proc/meminfo", "MemAvailable"),
        process_bytes=_sized(root / "proc/self/status", "VmRSS"),
        written_bytes=_sized(root / "proc/self/io", "write_bytes"),
    )


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Return degrees Celsius by thermal zone; a zone whose part of the chip sleeps cannot be read and is left out."""
    found = {}
    for zone in _numbered(root / "sys/class/thermal", "thermal_zone"):
        name, value = read(zone / "type").strip(), _whole(zone / "temp")
        if name and name != CONSTANT_ZONE and value is not None:
            found[name] = value / 1000
    return found


def chip_celsius(zones: Mapping[str, float]) -> float | None:
    """Return the temperature that decides about throttling; see `Telemetry.celsius`."""
    return max(
        (value for name, value in zones.items() if CHIP_ZONE.search(name)), default=max(zones.values(), default=None)
    )


def throttling(root: Path = Path("/")) -> Throttling:
    """Ask the firmware of a Raspberry Pi, and the kernel's cooling devices and over-current counters everywhere."""
    word = _firmware_word(root)
    brakes = _brakes(root)
    if word is None and not brakes:
        return Throttling(None)
    bits = word or 0
    reasons = [text for bit, text in enumerate(FIRMWARE_BITS) if bits >> bit & 1]
    reasons += [name for name, level in brakes.items() if level > 0]
    past = [text for bit, text in enumerate(FIRMWARE_BITS, 16) if bits >> bit & 1]
    if any(_whole(file) for file in root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")):
        past.append("over-current")
    return Throttling(bool(reasons), tuple(reasons), tuple(past))


def rails_watts(root: Path = Path("/")) -> dict[str, float]:
    """Return watts by rail: a Jetson's INA3221 by either of its drivers, a Raspberry Pi 5's own meter."""
    found = dict(_ina3221(root))
    for device in root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*"):  # the driver of JetPack 4
        for channel in range(len(CHANNELS)):
            name, power = read(device / f"rail_name_{channel}").strip(), _whole(device / f"in_power{channel}_input")
            if name and power is not None:
                found[name] = power / 1000
    return found or _pmic(root)


def module_watts(rails: Mapping[str, float]) -> float | None:
    """Add rails up to the power of the whole module; None where they do not cover it."""
    for name in INPUT_RAILS:
        if name in rails:
            return rails[name]
    if all(name in rails for name in AGX_ORIN_RAILS):
        return sum(rails[name] for name in AGX_ORIN_RAILS)
    return sum(rails.values()) if "VDD_CORE" in rails else None


def _ina3221(root: Path) -> Iterator[tuple[str, float]]:
    for monitor in _numbered(root / "sys/class/hwmon", "hwmon"):
        if read(monitor / "name").strip() != "ina3221":
            continue
        for channel in CHANNELS:
            name = read(monitor / f"in{channel}_label").strip()
            millivolts, milliamperes = _whole(monitor / f"in{channel}_input"), _whole(monitor / f"curr{channel}_input")
            if name and name != "NC" and millivolts is not None and milliamperes is not None:
                yield name, millivolts * milliamperes / 1e6


def _pmic(root: Path) -> dict[str, float]:
    """Read ``NAME_A current(7)=0.99A`` and ``NAME_V volt(15)=0.84V``; rails without a current are no load of ours."""
    text = _vcgencmd(root, "pmic_read_adc")
    pairs = re.findall(r"(\w+)_([AV]) \w+\(\d+\)=([\d.]+)", text)
    reading = {(name, unit): float(value) for name, unit, value in pairs}
    return {
        name: value * reading[name, "V"]
        for (name, unit), value in reading.items()
        if unit == "A" and (name, "V") in reading
    }


def _firmware_word(root: Path) -> int | None:
    text = read(root / FIRMWARE_FILE) or _vcgencmd(root, "get_throttled").partition("=")[2]
    with contextlib.suppress(ValueError):
        return int(text.strip(), 16)
    return None


def _vcgencmd(root: Path, question: str) -> str:
    for program in (root / name for name in VCGENCMD):
        if program.is_file():
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                command = [str(program), question]
                done = subprocess.run(  # noqa: S603 - a fixed program of the board's own system
                    command, capture_output=True, text=True, timeout=VCGENCMD_SECONDS, check=True
                )
                return done.stdout
    return ""


def _brakes(root: Path) -> dict[str, int]:
    """Return the state of every cooling device that slows the chip down; 0 is off."""
    found: dict[str, int] = {}
    for device in _numbered(root / "sys/class/thermal", "cooling_device"):
        name, level = read(device / "type").strip(), _whole(device / "cur_state")
        if BRAKES.search(name) and level is not None:
            found[name] = max(level, found.get(name, 0))
    return found


def _slowest_core(root: Path) -> int | None:
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    return min((clock for clock in map(_kilo, files) if clock is not None), default=None)


def _numbered(folder: Path, prefix: str) -> list[Path]:
    return sorted(folder.glob(f"{prefix}[0-9]*"), key=lambda path: int(path.name.removeprefix(prefix)))


def _whole(file: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(read(file))
    return None


def _kilo(file: Path) -> int | None:
    value = _whole(file)
    return None if value is None else value * 1000


def _sized(file: Path, key: str) -> int | None:
    """Return the bytes that a line ``key: 12 kB`` (or ``key: 12``) tells."""
    found = re.search(rf"^{key}:\s+(\d+)( kB)?$", read(file), re.MULTILINE)
    return None if found is None else int(found[1]) * (1024 if found[2] else 1)
