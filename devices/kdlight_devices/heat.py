"""How hot the chip is, whether it is slowed down, and why: what a running program asks once a second."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kdlight_devices.kernel import numbered, read, vcgencmd, whole

FIRMWARE_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of a Raspberry Pi's ``get_throttled``, now; the same 16 bits higher, since it was started.

Source: Raspberry Pi documentation, vcgencmd.
"""

FIRMWARE_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""The same word in hexadecimal, without a process to start; Raspberry Pi's own kernel has it."""

BRAKES = re.compile(r"throttle-alert|cpufreq|devfreq|^Processor$", re.IGNORECASE)
"""Cooling devices that slow the chip down: Jetson Linux's alerts, the kernel's clock limits, ACPI. Fans are others."""

CHIP_ZONE = re.compile(r"cpu|gpu|soc|tj|cv\d|pkg|bcm", re.IGNORECASE)
"""Thermal zones that lie on the chip (``cpu-thermal``, ``GPU-therm``, ``tj-thermal``, ``x86_pkg_temp``)."""

CONSTANT_ZONE = "PMIC-Die"
"""A Jetson Nano and TX2 always say 100 degrees here: a placeholder, not a reading."""


class Throttling(NamedTuple):
    """Whether the board slows the program down."""

    now: bool | None
    """None where nothing on this machine tells."""
    reasons: tuple[str, ...] = ()
    """Why, at this moment."""
    since_boot: tuple[str, ...] = ()
    """What has happened since the board was started (only firmware and over-current counters remember)."""


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Return degrees Celsius by thermal zone; a zone whose part of the chip sleeps cannot be read and is left out."""
    found = {}
    for zone in numbered(root / "sys/class/thermal", "thermal_zone"):
        name, value = read(zone / "type").strip(), whole(zone / "temp")
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
    if any(whole(file) for file in root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")):
        past.append("over-current")
    return Throttling(bool(reasons), tuple(reasons), tuple(past))


def _firmware_word(root: Path) -> int | None:
    text = read(root / FIRMWARE_FILE) or vcgencmd(root, "get_throttled").partition("=")[2]
    with contextlib.suppress(ValueError):
        return int(text.strip(), 16)
    return None


def _brakes(root: Path) -> dict[str, int]:
    """Return the state of every cooling device that slows the chip down; 0 is off."""
    found: dict[str, int] = {}
    for device in numbered(root / "sys/class/thermal", "cooling_device"):
        name, level = read(device / "type").strip(), whole(device / "cur_state")
        if BRAKES.search(name) and level is not None:
            found[name] = max(level, found.get(name, 0))
    return found
