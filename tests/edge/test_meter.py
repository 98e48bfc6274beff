"""Percentiles are stated only when proved, nothing is thrown away, and memory is the kernel's own figure."""

import math
import subprocess
import sys
from fractions import Fraction
from itertools import count

import pytest

from kdlight_edge.meter import collect, excused, peak_rss_bytes, percentile_of, rss_bytes, summary, warm_up


@pytest.mark.parametrize(("percentile", "least"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.97, 219), (0.99, 662)])
def test_a_percentile_is_stated_from_the_number_of_samples_that_mlperf_asks_for(percentile: float, least: int) -> None:
    assert excused(least - 1, percentile) is None
    assert excused(least, percentile) == 0


def test_the_next_slow_sample_is_excused_where_mlperf_says_so() -> None:
    assert [excused(n, 0.9) for n in (80, 81, 96, 97)] == [0, 1, 1, 2]
    assert [excused(n, 0.99) for n in (837, 838, 1000, 1001)] == [0, 1, 1, 2]
    assert excused(1000, 0.9) == 77


@pytest.mark.parametrize(("samples", "percentile"), [(100, Fraction(1, 2)), (300, Fraction(9, 10))])
def test_the_tail_agrees_with_exact_fractions(samples: int, percentile: Fraction) -> None:
    def tail(t: int) -> Fraction:
        return sum(
            (math.comb(samples, k) * (1 - percentile) ** k * percentile ** (samples - k) for k in range(t + 1)),
            start=Fraction(0),
        )

    largest = next(t for t in count() if tail(t + 1) > Fraction(1, 100))
    assert excused(samples, float(percentile)) == largest - 1


def test_the_stated_percentile_is_the_slowest_sample_that_is_not_excused() -> None:
    ordered = [float(i) for i in range(1000)]
    assert percentile_of(ordered, 0.9) == 999 - 77
    assert percentile_of(ordered[:63], 0.9) is None


def test_a_summary_keeps_the_slowest_sample_and_says_unstable() -> None:
    steady = summary([1.0] * 64)
    assert (steady["n"], steady["p50"], steady["p90"], steady["p99"]) == (64, 1.0, 1.0, None)
    assert (steady["cv"], steady["unstable"]) == (0.0, False)
    shaken = summary([1.0] * 63 + [9.0])
    assert (shaken["min"], shaken["max"], shaken["mean"], shaken["p90"]) == (1.0, 9.0, 1.125, 9.0)
    assert shaken["unstable"]
    assert shaken["cv"] == pytest.approx(math.sqrt(63) * 8 / 64 / 1.125)


def test_warm_up_runs_at_least_ten_times_and_ends_at_its_limit() -> None:
    calls: list[int] = []
    warm = warm_up(lambda: calls.append(0), limit=0.0)
    assert warm.runs == len(calls) >= 10
    assert warm.seconds >= 0.2


def test_a_collection_lasts_until_both_samples_and_seconds_are_reached() -> None:
    calls: list[int] = []
    assert len(collect(lambda: calls.append(0), seconds=0, samples=64)) == len(calls) == 64
    assert len(collect(lambda: calls.append(0), seconds=0.02, samples=1)) > 1


def test_peak_memory_counts_what_was_given_back() -> None:
    code = (
        "from kdlight_edge.meter import *; a = rss_bytes(); b = b'1' * 64_000_000; del b; "
        "print(rss_bytes() - a, peak_rss_bytes() - a)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    now, peak = map(int, ran.stdout.split())
    assert now < 32_000_000
    assert peak > 60_000_000


def test_peak_memory_is_never_below_the_present_one() -> None:
    assert peak_rss_bytes() >= rss_bytes() > 1_000_000
