"""Watches the board while something is measured on it: heat, clocks, throttling, power, memory, bytes written."""

import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlight_devices.kernel import VCGENCMD, numbered, read
from kdlight_devices.telemetry import Telemetry, look

FAST, SLOW = 0.1, 1.0
"""Seconds between two looks: an INA3221 is read ten times a second, what must be asked by a process once."""

IDLE_SECONDS = 5.0
"""How long the power is watched before the work begins, where it can be watched."""

WINDOWS, WINDOW_SECONDS = 5, 10.0
"""Energy is the median of five windows of ten seconds or more each, as MLPerf Tiny measures it."""

GROWTH_SECONDS = 120.0
"""Growth of memory is told of the second half of a run that lasts this long: what is loaded once is no growth."""

POINTS = 240
"""Of a series in a record at most."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look and when it was."""

    at: float
    """Seconds of ``time.monotonic``."""
    told: Telemetry


class Vigil:
    """Looks at the board from a thread of its own for as long as the context lasts."""

    def __init__(self) -> None:
        """Look once, and where the power can be watched, watch it idle."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vigil", daemon=True)
        first = look()
        self.meter = meter(first)
        self._every = FAST if self.meter == "INA3221" else SLOW
        self.idle_watts = self._idle() if first.watts is not None else None
        self.sights: list[Sight] = []

    def _idle(self) -> float:
        until, seen = time.monotonic() + IDLE_SECONDS, []
        while time.monotonic() < until:
            watts = look().watts
            seen += [] if watts is None else [watts]
            time.sleep(self._every)
        return statistics.fmean(seen)

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self._look()

    def _look(self) -> None:
        self.sights.append(Sight(time.monotonic(), look()))

    def __enter__(self) -> "Vigil":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def report(self) -> dict[str, Any]:
        """Return what was seen, as plain JSON types; what the board does not tell is None."""
        told = [sight.told for sight in self.sights]
        first, last = self.sights[0], self.sights[-1]
        watts = [one.watts for one in told if one.watts is not None]
        new = sorted(set(last.told.throttling.since_boot) - set(first.told.throttling.since_boot))
        return {
            "seconds": round(last.at - first.at, 1),
            "celsius": _range([one.celsius for one in told]),
            "clock_hz": _range([one.clock_hz for one in told]),
            "governor": last.told.governor,
            "throttled_seconds": _throttled_seconds(self.sights),
            "throttled_by": sorted({reason for one in told for reason in one.throttling.reasons} | set(new)),
            "power": {
                "meter": self.meter,
                "mean_watts": statistics.fmean(watts) if watts else None,
                "idle_watts": self.idle_watts,
            },
            "rss_mb_per_hour": self._growth(),
            "written_bytes": _difference(first.told.written_bytes, last.told.written_bytes),
            "series": self._series(),
        }

    def _growth(self) -> float | None:
        """Return how memory grows once the program has settled; None where that was not watched for long."""
        first, last = self.sights[0].at, self.sights[-1].at
        settled = [s for s in self.sights if s.at >= (first + last) / 2]
        if last - first < GROWTH_SECONDS:
            return None
        return slope([(s.at, s.told.process_bytes) for s in settled], 3600 / 1e6)

    def _series(self) -> list[dict[str, float | int | None]]:
        """Thin the looks out to what a plot shows."""
        step, start = -(-len(self.sights) // POINTS), self.sights[0].at
        return [
            {
                "s": round(sight.at - start, 1),
                "celsius": sight.told.celsius,
                "mhz": None if sight.told.clock_hz is None else sight.told.clock_hz // 1_000_000,
                "watts": sight.told.watts,
                "rss_mb": None if sight.told.process_bytes is None else round(sight.told.process_bytes / 1e6, 1),
            }
            for sight in self.sights[::step]
        ]

    def joules(self, times_ms: Sequence[float]) -> float | None:
        """Return the energy of one answer, joules, idle included; None without a meter or with less than 50 s of work.

        Args:
            times_ms: of answers that followed each other without a gap, the last one at the end of the vigil.
        """
        seconds = sum(times_ms) / 1000
        if self.meter == "none" or seconds < WINDOWS * WINDOW_SECONDS:
            return None
        begin, found = self.sights[-1].at - seconds, []
        for number in range(WINDOWS):
            low, high = (begin + (number + step) * seconds / WINDOWS for step in (0, 1))
            watts = [s.told.watts for s in self.sights if low <= s.at < high and s.told.watts is not None]
            answers = _within(times_ms, number, seconds)
            if watts and answers:
                found.append(statistics.fmean(watts) * seconds / WINDOWS / answers)
        return statistics.median(found) if len(found) == WINDOWS else None


def _within(times_ms: Sequence[float], number: int, seconds: float) -> int:
    """Count the answers that ended within a window."""
    end, count = 0.0, 0
    for taken in times_ms:
        end += taken / 1000
        count += min(int(end * WINDOWS / seconds), WINDOWS - 1) == number
    return count


def meter(told: Telemetry, root: Path = Path("/")) -> str:
    """Name what tells the module's power: INA3221, pmic_read_adc (without the 5 V of USB), tegrastats, or none."""
    if told.watts is None:
        return "none"
    monitors = numbered(root / "sys/class/hwmon", "hwmon")
    if any(read(monitor / "name").strip() == "ina3221" for monitor in monitors):
        return "INA3221"
    if any(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*")):
        return "INA3221"
    return "pmic_read_adc" if any((root / name).is_file() for name in VCGENCMD) else "tegrastats"


def slope(points: Sequence[tuple[float, float | None]], scale: float = 1.0) -> float | None:
    """Return the least-squares slope of (seconds, value), times ``scale``; None with fewer than three values."""
    known = [(at, value) for at, value in points if value is not None]
    if len(known) < 3:  # noqa: PLR2004 - two points always lie on a line
        return None
    return statistics.linear_regression(*zip(*known, strict=True)).slope * scale


def _throttled_seconds(sights: Sequence[Sight]) -> float | None:
    """Add up the time from each look that saw a brake to the next; None where nothing tells."""
    if all(sight.told.throttling.now is None for sight in sights):
        return None
    return round(sum(after.at - one.at for one, after in itertools.pairwise(sights) if one.told.throttling.now), 1)


def _range(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return {"first": known[0], "min": min(known), "max": max(known), "last": known[-1]} if known else None


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
