"""Time and memory, measured so that figures can be compared: warm-up, percentiles with proof, peak memory.

Percentiles follow the early-stopping rule of MLPerf Inference: one is stated only when the samples prove it with 99 %
confidence, and the value stated is the smallest that they prove. Nothing is thrown away as an outlier: a pause of the
machine is part of what a user sees.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlight_devices.kernel import sized

CONFIDENCE = 0.99
"""Of a stated percentile, with tolerance d = 0, both as MLPerf Inference."""

UNSTABLE_CV = 0.025
"""Coefficient of variation above which a run is called unstable; trtexec warns at the same value."""

WARM_SECONDS, WARM_RUNS, WARM_WINDOW = 0.2, 10, 50
"""Least time and least runs before measuring (as trtexec), and how many runs must lie close together."""


def excused(samples: int, percentile: float) -> int | None:
    """Return how many of the slowest samples may be left out when a percentile is stated.

    With t the largest count for which seeing t or fewer of ``samples`` above the true percentile has a chance of at
    most 1 % (binomial tail; MLPerf Inference, early stopping), the t - 1 slowest are left out.

    Args:
        samples: how many were measured.
        percentile: between 0 and 1, for instance 0.9.

    Returns:
        t - 1, or None where the samples are too few to state this percentile: fewer than 11 for p50, 64 for p90,
        662 for p99.
    """
    over, tail = math.log1p(-percentile), 0.0
    for count in range(samples + 1):
        ways = math.lgamma(samples + 1) - math.lgamma(count + 1) - math.lgamma(samples - count + 1)
        tail += math.exp(ways + count * over + (samples - count) * math.log(percentile))
        if tail > 1 - CONFIDENCE:
            # ``count`` is one too many, so t is count - 1.
            return count - 2 if count >= 2 else None  # noqa: PLR2004 - at least one sample must lie above
    return None


def percentile_of(ordered: Sequence[float], percentile: float) -> float | None:
    """Return the percentile that ``ordered`` (ascending) proves, or None where there are too few samples."""
    left_out = excused(len(ordered), percentile)
    return None if left_out is None else ordered[-1 - left_out]


def summary(samples_ms: Sequence[float]) -> dict[str, Any]:
    """Summarise a series of times, one or more, in milliseconds.

    Returns:
        ``n``, ``p50``, ``p90``, ``p99`` (None where unproved, see `excused`), ``mean``, ``min``, ``max``, all in
        milliseconds; ``cv`` (standard deviation over mean) and ``unstable`` (cv above 2.5 %).
    """
    ordered = sorted(samples_ms)
    cv = _cv(ordered)
    return {
        "n": len(ordered),
        "p50": percentile_of(ordered, 0.5),
        "p90": percentile_of(ordered, 0.9),
        "p99": percentile_of(ordered, 0.99),
        "mean": math.fsum(ordered) / len(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "cv": cv,
        "unstable": cv > UNSTABLE_CV,
    }


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a warm-up went."""

    seconds: float
    runs: int
    stable: bool
    """Whether the last 50 runs lay within 2.5 %; false when the time ran out first."""


def warm_up(run: Callable[[], object], *, limit: float = 30.0) -> WarmUp:
    """Repeat ``run`` until its time is steady.

    At least 0.2 s and 10 runs, then until the coefficient of variation over the last 50 runs is at most 2.5 %, or until
    ``limit`` seconds have passed.
    """
    recent: deque[float] = deque(maxlen=WARM_WINDOW)
    started, runs, stable = time.perf_counter(), 0, False
    while True:
        recent.append(milliseconds(run))
        runs += 1
        seconds = time.perf_counter() - started
        if seconds < WARM_SECONDS or runs < WARM_RUNS:
            continue
        stable = len(recent) == WARM_WINDOW and _cv(recent) <= UNSTABLE_CV
        if stable or seconds >= limit:
            return WarmUp(seconds, runs, stable)


def collect(run: Callable[[], object], *, seconds: float, samples: int) -> list[float]:
    """Time ``run`` again and again, until both ``seconds`` have passed and ``samples`` were taken.

    Returns:
        One time a run, milliseconds, in the order they were taken.
    """
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < samples or time.perf_counter() < until:
        taken.append(milliseconds(run))
    return taken


def milliseconds(run: Callable[[], object]) -> float:
    """Return how long one call of ``run`` takes."""
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e6


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    return _status("VmRSS")


def peak_rss_bytes() -> int:
    """Return the largest resident memory this process ever had.

    The kernel's own high-water mark since the program was started; ``ru_maxrss`` would do for the same, but counts what
    the parent had before it started this program.
    """
    return _status("VmHWM")


def _status(key: str) -> int:
    found = sized(Path("/proc/self/status"), key)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}; memory is measured on Linux only")
    return found


def _cv(values: Sequence[float] | deque[float]) -> float:
    mean = math.fsum(values) / len(values)
    # Not by `statistics`, whose import takes more of a cold start than everything else in this file.
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) / mean if mean else 0.0
