"""Lowers the frame rate before the chip must slow itself down, and gives it back once the chip has cooled."""

from dataclasses import dataclass
from pathlib import Path

from kdlight_devices.detect import detect
from kdlight_devices.heat import Throttling

BRAKE = {"rpi": 75.0, "jetson": 90.0, "cpu": 90.0}
"""Degrees at which a family's rate is lowered.

5 below where a Raspberry Pi's firmware begins to slow it down (80, Raspberry Pi documentation), 9 below an Orin's
software throttling (99, Jetson Linux Developer Guide); computers differ, most have 100.
"""

BAND = 5.0
"""Degrees below the brake at which rate is given back: between the two nothing changes, so that it does not swing."""

LESS, MORE = 0.8, 1.1
"""Factors of one step down and one step up: quick to save, slow to come back."""

LEAST = 1.0
"""Frames a second that are always left, unless fewer were asked for."""

NEVER = float("inf")
"""A brake that heat does not reach: `Limits.brake` of a governor that only keeps to the most."""

PERIOD = 5.0
"""Seconds between two steps: a chip needs them to show what the last one did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a governor acts."""

    brake: float
    """Degrees Celsius of the chip from which on the rate is lowered."""
    most: float | None = None
    """Frames a second that are never exceeded (``--max-fps``); None for as many as there are."""

    @property
    def release(self) -> float:
        """Degrees below which the rate is given back."""
        return self.brake - BAND


def limits(root: Path = Path("/"), most: float | None = None) -> Limits:
    """Return the limits of the machine."""
    return Limits(BRAKE[detect(root).target], most)


def step(
    limit: float | None,
    rate: float,
    celsius: float | None,
    throttled: bool | None,  # noqa: FBT001 - a reading
    held: Limits,
) -> float | None:
    """Return the next limit of frames a second; None for no limit.

    Args:
        limit: that of now.
        rate: frames a second that were answered under it, from which the first step down goes.
        celsius: of the chip; None where it does not tell, which changes nothing.
        throttled: whether the board is slowed down already, by heat or by a weak supply; None where it does not tell.
        held: where to act.
    """
    if (throttled and held.brake != NEVER) or (celsius is not None and celsius >= held.brake):
        known = [value for value in (limit, rate or None, held.most) if value is not None]
        if not known:
            return None
        lowered = max(LEAST, min(known) * LESS)
        return lowered if held.most is None else min(held.most, lowered)
    cool = celsius is None or celsius < held.release
    if limit is None or not cool or limit == held.most:
        return limit
    more = limit * MORE
    if held.most is not None:
        return min(more, held.most)
    # Nothing was asked for: once the limit is well above what the camera gives it says nothing, and is gone.
    return None if more > 2 * max(rate, LEAST) else more


class Governor:
    """Remembers the limit between two looks at a board, and steps at most once in `PERIOD`."""

    def __init__(self, held: Limits) -> None:
        """Begin without a limit but the one that is never exceeded."""
        self.held = held
        self.limit = held.most
        self._next = 0.0

    def look(self, now: float, rate: float, celsius: float | None, throttling: Throttling) -> float | None:
        """Take one look and return the limit.

        Args:
            now: seconds of a monotonic clock.
            rate: frames a second since the last look.
            celsius: of the chip.
            throttling: of the board.
        """
        if now >= self._next:
            before, self.limit = self.limit, step(self.limit, rate, celsius, throttling.now, self.held)
            if self.limit != before or self._next == 0.0:
                self._next = now + PERIOD
        return self.limit
