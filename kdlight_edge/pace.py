"""The pace of a run on a camera: no more frames a second than the governor, or a person, allows just now."""

import threading
import time


class Pace:
    """Holds the reader of a camera back between two frames; what comes meanwhile is dropped and counted as always."""

    def __init__(self, limit: float | None = None) -> None:
        """Take the frames a second to begin with; None for no limit."""
        self.limit = limit
        """May be set by another thread at any moment."""
        self._due = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Return when the next frame may be taken, or once ``stop`` is set."""
        limit = self.limit
        if limit is None:
            return
        now = time.monotonic()
        if now < self._due:
            stop.wait(min(self._due - now, 1 / limit))
        # From when it was due, not from now: the mean is the limit, and no debt is carried over a pause of the camera.
        self._due = max(now, self._due) + 1 / limit
