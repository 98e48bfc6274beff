"""Prometheus' text format, version 0.0.4: families of samples, and histograms."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    """One line of a family."""

    end: str
    """What is put behind the family's name (``_bucket``)."""
    labels: Mapping[str, str]
    value: float


class Family(NamedTuple):
    """A metric with its samples."""

    name: str
    kind: str
    """counter | gauge | histogram"""
    help: str
    samples: Sequence[Sample]


class Histogram:
    """Counts values by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value, in seconds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> list[Sample]:
        """Return the cumulative buckets, the sum and the count."""
        total, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), list(self._counts), strict=True):
            total += count
            found.append(Sample("_bucket", {"le": bound}, total))
        return [*found, Sample("_sum", {}, self._sum), Sample("_count", {}, total)]


def one(name: str, kind: str, text: str, value: float) -> Family:
    """Return a family of one sample without labels."""
    return Family(name, kind, text, [Sample("", {}, value)])


def by(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a family with a sample for each value of one label."""
    return Family(name, kind, text, [Sample("", {label: key}, value) for key, value in values.items()])


def text_of(family: Family) -> str:
    """Return a family's lines; every name begins with ``kdlight_``."""
    name = f"kdlight_{family.name}"
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    for end, labels, value in family.samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{end}{{{inside}}} {float(value):.17g}" if inside else f"{name}{end} {float(value):.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
