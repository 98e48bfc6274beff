"""When a run began, by a clock that may be set later (a board without one of its own, once it has a network)."""

import time

NEWBORN = 1_767_225_600
"""2026-01-01, before the first release, in seconds since 1970: a clock that says less was never set."""

STEP = 2.0
"""Seconds by which the clock must have been set: a smaller correction leaves the moment told as it is, for alarms."""


class Began:
    """The moment of its making, on the wall clock as it stands when it is asked."""

    def __init__(self) -> None:
        self._utc, self._monotonic = time.time(), time.monotonic()

    def utc(self) -> float:
        """Return seconds since 1970."""
        moment = time.time() - (time.monotonic() - self._monotonic)
        if abs(moment - self._utc) > STEP:
            self._utc = moment
        return self._utc
