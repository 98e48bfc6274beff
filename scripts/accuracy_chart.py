"""Accuracy against latency as an SVG: a panel for each set, its students and the teacher they learnt from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDE, HIGH, COLUMNS = 250, 190, 3
LEFT, RIGHT, ABOVE, BELOW = 40, 12, 26, 34
MARKS_MS = (0.1, 0.3, 1, 3, 10)
MARKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COLOURS = {"nano": "#b5521b", "small": "#1f5fa8", "paper": "#5b3f9e", "teacher": "#555"}


def chart(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the chart.

    Args:
        panels: name of a set to its points: ``who``, ``ms`` (log scale), ``accuracy`` and ``ci95`` as shares.
    """
    rows = math.ceil(len(panels) / COLUMNS)
    wide, high = WIDE * COLUMNS, HIGH * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high + 18}">',
        "<style>text { font: 10px sans-serif }</style>",
        f'<rect width="{wide}" height="{high + 18}" fill="white"/>',
        f'<text x="{wide / 2}" y="{high + 10}" text-anchor="middle">median of one picture on one thread, ms</text>',
    ]
    for index, (name, points) in enumerate(panels.items()):
        x, y = WIDE * (index % COLUMNS), HIGH * (index // COLUMNS)
        parts.append(f'<g transform="translate({x} {y})">{"".join(panel(name, points))}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(name: str, points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one set: grid, whiskers, dots with names."""
    parts = [f'<text x="{LEFT}" y="16" style="font-weight: bold">{name}</text>']
    for share in MARKS:
        y = height(share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3}" text-anchor="end">{share:.0%}</text>')
    below = HIGH - BELOW + 14
    parts += [f'<text x="{across(mark)}" y="{below}" text-anchor="middle">{mark:g}</text>' for mark in MARKS_MS]
    for point in points:
        x, colour = across(point["ms"]), COLOURS[point["who"]]
        low, high = (height(max(MARKS[0], end)) for end in point["ci95"])
        middle = height(max(MARKS[0], point["accuracy"]))
        parts.append(f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<circle cx="{x}" cy="{middle}" r="3.5" fill="{colour}"/>')
        y = high - 5 if point["who"] == "nano" else low + 11  # it stands close to small
        parts.append(f'<text x="{x}" y="{y}" text-anchor="middle" fill="{colour}">{point["who"]}</text>')
    return parts


def across(ms: float) -> float:
    """Return the pixel of a time."""
    low, high = math.log(MARKS_MS[0] * 0.8), math.log(MARKS_MS[-1])
    return round(LEFT + (math.log(ms) - low) / (high - low) * (WIDE - RIGHT - LEFT), 1)


def height(share: float) -> float:
    """Return the pixel of an accuracy."""
    return round(HIGH - BELOW - (share - MARKS[0]) / (MARKS[-1] - MARKS[0]) * (HIGH - BELOW - ABOVE), 1)
