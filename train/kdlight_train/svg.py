"""Figures of a report as hand-written SVG: curves over epochs, intervals on an axis; colours come from the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 44


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to pixels along one axis."""

    low: float
    high: float
    start: float
    """Pixel of ``low``."""
    end: float
    """Pixel of ``high``."""

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, to a tenth."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round values that cover low to high: steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low if high > low else max(abs(high), 1.0) * 0.1
    raw = span / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def curve(
    title: str,
    points: Sequence[Point],
    write: Callable[[float], str],
    *,
    mark: tuple[str, float] | None = None,
) -> str:
    """Draw one line over the epochs.

    Args:
        title: for those who hear the page.
        points: (epoch, value), in order; one is enough.
        write: a value to the text of its tick.
        mark: name and value of a dashed line to compare with.
    """
    heights = [y for _, y in points] + ([mark[1]] if mark else [])
    marks_y, marks_x = ticks(min(heights), max(heights)), _whole(points)
    x = Scale(points[0][0], max(points[-1][0], points[0][0] + 1), _LEFT, _WIDTH - _RIGHT)
    y = Scale(marks_y[0], marks_y[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(x, y, marks_x, marks_y, write)]
    if mark:
        level = y(mark[1])
        parts.append(f'<line class="mark" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level}" y2="{level}"/>')
        parts.append(
            f'<text class="note" x="{_WIDTH - _RIGHT}" y="{level - 5}" text-anchor="end">{escape(mark[0])}</text>'
        )
    path = " ".join(f"{x(a)},{y(b)}" for a, b in points)
    parts.append(f'<polyline class="line" points="{path}"/>')
    last = points[-1]
    parts.append(f'<circle class="dot" cx="{x(last[0])}" cy="{y(last[1])}" r="3.5"/>')
    parts.append(f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">epoch</text>')
    return _svg(title, _WIDTH, _HEIGHT, parts)


def _grid(x: Scale, y: Scale, marks_x: Sequence[float], marks_y: Sequence[float], write: Callable[[float], str]) -> str:
    lines = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}"/>'
        f'<text class="axis" x="{_LEFT - 7}" y="{y(value) + 4}" text-anchor="end">{escape(write(value))}</text>'
        for value in marks_y
    ]
    lines += [
        f'<text class="axis" x="{x(value)}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">{value:g}</text>'
        for value in marks_x
    ]
    return "".join(lines)


def _whole(points: Sequence[Point]) -> list[float]:
    """Return the whole epochs to mark."""
    first, last = points[0][0], points[-1][0]
    return [value for value in ticks(first, last, 6) if first <= value <= last and value == round(value)] or [first]


def intervals(title: str, rows: Sequence[tuple[str, float, float, float]], write: Callable[[float], str]) -> str:
    """Draw shares with their intervals on a common axis: (name, low, value, high) a row, the first one stressed."""
    marks = ticks(min(low for _, low, _, _ in rows), max(high for _, _, _, high in rows))
    left = 14 + 7 * max(len(name) for name, *_ in rows)
    height = 30 * len(rows) + 30
    x = Scale(marks[0], marks[-1], left, _WIDTH - 24)
    parts = [
        f'<line class="grid" x1="{x(value)}" x2="{x(value)}" y1="6" y2="{height - 24}"/>'
        f'<text class="axis" x="{x(value)}" y="{height - 7}" text-anchor="middle">{escape(write(value))}</text>'
        for value in marks
    ]
    for index, (name, low, value, high) in enumerate(rows):
        level, kind = 21 + 30 * index, "" if index == 0 else " other"
        parts.append(f'<text class="name" x="0" y="{level + 4}">{escape(name)}</text>')
        parts.append(f'<line class="range{kind}" x1="{x(low)}" x2="{x(high)}" y1="{level}" y2="{level}"/>')
        parts.append(f'<circle class="dot{kind}" cx="{x(value)}" cy="{level}" r="5"/>')
    return _svg(title, _WIDTH, height, parts)


def whisker(low: float, value: float, high: float) -> str:
    """Draw one share with its interval, small enough for a table, on an axis from 0 to 1."""
    x = Scale(0, 1, 4, 96)
    parts = [
        '<line class="rail" x1="4" x2="96" y1="7" y2="7"/>',
        f'<line class="range" x1="{x(low)}" x2="{x(high)}" y1="7" y2="7"/>',
        f'<circle class="dot" cx="{x(value)}" cy="7" r="3.2"/>',
    ]
    return f'<svg class="whisker" viewBox="0 0 100 14" aria-hidden="true">{"".join(parts)}</svg>'


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    name = escape(title)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
