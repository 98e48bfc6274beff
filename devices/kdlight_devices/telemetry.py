"""How a board feels now: heat, clocks, throttling, power, memory and disk writes, read from the kernel's own files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdlight_devices.heat import Throttling, chip_celsius, temperatures, throttling
from kdlight_devices.jtop import jtop_rails
from kdlight_devices.kernel import numbered, read, sized, vcgencmd, whole
from kdlight_devices.tegrastats import first_line, rails_of

INPUT_RAILS = ("VDD_IN", "POM_5V_IN")
"""The INA3221 channel that carries all of a Jetson's power: Orin NX, Orin Nano and Xavier NX; Nano."""

AGX_ORIN_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
"""An AGX Orin has no such channel: its module's power is the sum of these (Jetson Linux Developer Guide)."""

CHANNELS = (1, 2, 3)
"""Of an INA3221; further entries of its driver are sums and shunt voltages."""


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
    gpu_hz: int | None
    """Clock of a GPU that the kernel's devfreq sets."""
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
        gpu_hz=_gpu(root),
        watts=module_watts(rails),
        rails=rails,
        memory_available_bytes=sized(root / "proc/meminfo", "MemAvailable"),
        process_bytes=sized(root / "proc/self/status", "VmRSS"),
        written_bytes=sized(root / "proc/self/io", "write_bytes"),
    )


def rails_watts(root: Path = Path("/")) -> dict[str, float]:
    """Return watts by rail: a Jetson's INA3221 by either driver, jetson-stats or tegrastats; a Pi 5's own meter."""
    found = dict(_ina3221(root))
    for device in root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*"):  # the driver of JetPack 4
        for channel in range(len(CHANNELS)):
            name, power = read(device / f"rail_name_{channel}").strip(), whole(device / f"in_power{channel}_input")
            if name and power is not None:
                found[name] = power / 1000
    return found or _pmic(root) or jtop_rails(root) or rails_of(first_line(root))


def module_watts(rails: Mapping[str, float]) -> float | None:
    """Add rails up to the power of the whole module; None where they do not cover it."""
    for name in INPUT_RAILS:
        if name in rails:
            return rails[name]
    if all(name in rails for name in AGX_ORIN_RAILS):
        return sum(rails[name] for name in AGX_ORIN_RAILS)
    return sum(rails.values()) if "VDD_CORE" in rails else None


def _ina3221(root: Path) -> Iterator[tuple[str, float]]:
    for monitor in numbered(root / "sys/class/hwmon", "hwmon"):
        if read(monitor / "name").strip() != "ina3221":
            continue
        for channel in CHANNELS:
            name = read(monitor / f"in{channel}_label").strip()
            millivolts, milliamperes = whole(monitor / f"in{channel}_input"), whole(monitor / f"curr{channel}_input")
            if name and name != "NC" and millivolts is not None and milliamperes is not None:
                yield name, millivolts * milliamperes / 1e6


def _pmic(root: Path) -> dict[str, float]:
    """Read ``NAME_A current(7)=0.99A`` and ``NAME_V volt(15)=0.84V``; rails without a current are no load of ours."""
    text = vcgencmd(root, "pmic_read_adc")
    pairs = re.findall(r"(\w+)_([AV]) \w+\(\d+\)=([\d.]+)", text)
    reading = {(name, unit): float(value) for name, unit, value in pairs}
    return {
        name: value * reading[name, "V"]
        for (name, unit), value in reading.items()
        if unit == "A" and (name, "V") in reading
    }


def _slowest_core(root: Path) -> int | None:
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    return min((clock for clock in map(_kilo, files) if clock is not None), default=None)


def _gpu(root: Path) -> int | None:
    files = sorted(root.glob("sys/class/devfreq/*gpu*/cur_freq"))  # 17000000.gpu on an Orin, 57000000.gpu on a Nano
    return next((clock for clock in map(whole, files) if clock is not None), None)


def _kilo(file: Path) -> int | None:
    value = whole(file)
    return None if value is None else value * 1000
