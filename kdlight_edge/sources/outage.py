"""A camera's way from a loss to its return: how long it is waited for, and what is told of it."""

import re
import time
from collections import deque
from collections.abc import Callable

from kdlight_edge.errors import SourceError
from kdlight_edge.sources import Patience
from kdlight_edge.trouble import Trouble

SHORT = 2.0
"""Seconds: a camera that is lost sooner after its return has come to nothing."""

MANY = 3
"""Such returns in a row after which each further one is waited for longer: a loose plug would be tried every second."""

OFTEN, WHILE = 20, 3600.0
"""Losses at most that are told within so many seconds: a camera that comes and goes for months would fill the log."""

_NUMBERS = re.compile(r"\d[\d.,]*(?= (?:s|bytes)\b)")
"""What differs from one loss of a cause to the next."""


class Outages:
    """Follows one camera; used by the thread that captures."""

    def __init__(self, name: str, patience: Patience, report: Callable[[str], None]) -> None:
        """Take what the camera is called, the patience with it, and what takes a line for people."""
        self._name, self._patience = name, patience
        self._trouble = Trouble(self._said)
        self._report = report
        self._lost = self._wait = 0.0
        self._failures = self._short = self._untold = 0
        self._back = float("-inf")
        self._told: deque[float] = deque(maxlen=OFTEN)
        self._loud = False

    def failed(self, error: SourceError) -> float:
        """Take a loss, or an attempt that failed; return the seconds until the next.

        Raises:
            SourceError: there were enough of them.
        """
        now = time.monotonic()
        if not self._lost:
            self._begin(now)
            said = f"{self._name} lost: {error}; trying to open it again"
        else:
            self._wait, self._failures = min(self._wait * 2, self._patience.longest_wait), self._failures + 1
            said = f"{self._name} stays away: {error}"
        # Asked at each attempt: the one that came and went for an hour may be away for good this time.
        if not self._loud and (len(self._told) < OFTEN or now - self._told[0] > WHILE):
            self._told.append(now)
            self._loud = True
        if self._loud:
            # Of a camera that was not to be reached at first, that it wants another password is news.
            self._trouble.tell(said, _NUMBERS.sub("", str(error)))
        if self._patience.retries is not None and self._failures >= self._patience.retries:
            raise SourceError(f"{self._name} stayed away, given up after {self._failures} attempts: {error}") from error
        return self._wait

    def _begin(self, now: float) -> None:
        self._lost, self._failures = now, 0
        self._short = self._short + 1 if now - self._back < SHORT else 0
        if self._short > MANY:
            self._wait = min(2 * self._wait, self._patience.longest_wait)
        else:
            self._wait = self._patience.first_wait
        self._loud = False

    def _said(self, line: str) -> None:
        more = f" ({self._untold:,} losses before it were not told)" if self._untold else ""
        self._untold = 0
        self._report(f"{line}{more}")

    def over(self) -> bool:
        """Take a frame; return whether it ends an outage."""
        if not self._lost:
            return False
        now = time.monotonic()
        self._trouble.over(f"{self._name} is back after {now - self._lost:.1f} s")
        self._untold += not self._loud
        self._lost, self._back = 0.0, now
        return True
