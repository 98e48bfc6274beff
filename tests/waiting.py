"""Waiting for what must come to pass, with a limit after which the test has failed."""

import time
from collections.abc import Callable

LIMIT = 60.0
"""Seconds; only a test that fails waits so long."""


def until(true: Callable[[], object], what: str = "what must come to pass") -> None:
    """Look again and again until it is true."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
