"""Plots of a report as hand-written SVG: values over seconds, and percentiles of several series on one axis."""

import itertools
import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 16, 34


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round values that cover low to high."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def over_time(
    title: str,
    unit: str,
    lines: Sequence[tuple[str, Sequence[Point]]],
    shades: Sequence[tuple[str, float, float]] = (),
    *,
    from_zero: bool = True,
) -> str:
    """Draw values over seconds.

    Args:
        title: for those who hear the page.
        unit: of the values.
        lines: (name, points); at most three, told apart by class ``one`` to ``three``.
        shades: (name, begin, end) of spans in which something happened.
        from_zero: whether the axis starts there.
    """
    every = [point for _, points in lines for point in points]
    marks = ticks(min(0.0 if from_zero else math.inf, *(y for _, y in every)), max(y for _, y in every))
    across = ticks(0.0, max(x for x, _ in every), 6)

    def at(x: float, y: float) -> tuple[float, float]:
        down = (y - marks[0]) / (marks[-1] - marks[0])
        return (
            round(LEFT + x / across[-1] * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - down * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = []
    for name, begin, end in shades:
        left, right = at(begin, marks[0])[0], at(end, marks[0])[0]
        width = max(right - left, 1)
        parts.append(f'<rect class="shade" x="{left}" width="{width:.1f}" y="{TOP}" height="{HEIGHT - TOP - BOTTOM}"/>')
        parts.append(f'<text class="note" x="{left + width / 2:.1f}" y="{TOP - 4}">{escape(name)}</text>')
    for value in marks:
        _, y = at(0, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="axis end" x="{LEFT - 6}" y="{y + 4}">{value:g}</text>')
    for value in across:
        x, _ = at(value, marks[0])
        parts.append(f'<text class="axis mid" x="{x}" y="{HEIGHT - BOTTOM + 16}">{value:g}</text>')
    parts.append(f'<text class="axis end" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}">seconds</text>')
    parts.append(f'<text class="axis" x="4" y="{TOP - 4}">{escape(unit)}</text>')
    for (_, points), kind in zip(lines, ("one", "two", "three"), strict=False):
        for piece in unbroken(points):
            path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in piece))
            parts.append(f'<polyline class="line {kind}" points="{path}"/>')
    return _svg(title, HEIGHT, parts)


def unbroken(points: Sequence[Point]) -> list[list[Point]]:
    """Cut a line where nothing was for a while: eight times the usual step, and a fiftieth of the whole."""
    steps = sorted(after[0] - one[0] for one, after in itertools.pairwise(points)) or [0.0]
    gap = max(8 * steps[len(steps) // 2], (points[-1][0] - points[0][0]) / 50)
    pieces = [[points[0]]]
    for one, after in itertools.pairwise(points):
        if after[0] - one[0] > gap:
            pieces.append([])
        pieces[-1].append(after)
    return pieces


def percentiles(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Draw p50, p90 and p99 (milliseconds) of several series, those that are proved, on one axis from 0."""
    left, height = 190, 34 * len(rows) + 34
    marks = ticks(0.0, max(value for _, found in rows for value in found.values()), 6)

    def at(value: float) -> float:
        return round(left + value / marks[-1] * (WIDTH - left - 34), 1)

    parts = []
    for value in marks:
        parts.append(f'<line class="grid" x1="{at(value)}" x2="{at(value)}" y1="8" y2="{height - 26}"/>')
        parts.append(f'<text class="axis mid" x="{at(value)}" y="{height - 9}">{value:g}</text>')
    parts.append(f'<text class="axis end" x="{WIDTH - 2}" y="{height - 9}">ms</text>')
    for number, (name, found) in enumerate(rows):
        y = 26 + 34 * number
        parts.append(f'<text class="name" x="0" y="{y + 4}">{escape(name)}</text>')
        parts.append(
            f'<line class="range" x1="{at(min(found.values()))}" x2="{at(max(found.values()))}" y1="{y}" y2="{y}"/>'
        )
        for key, value in found.items():
            parts.append(
                f'<circle class="dot {key}" cx="{at(value)}" cy="{y}" r="4.5"><title>{key} {value:.3f}</title></circle>'
            )
    return _svg("Percentiles of each series", height, parts)


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    name = escape(title)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
