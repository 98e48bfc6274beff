"""The pictures of a report by their names: those of a surface, and those that an older report left."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kdlight_edge.errors import UsageError
from kdlight_edge.plain import told_apart

FOLDER = "pictures"

_OURS = re.compile(r"\d{5,}(\.jpg|-[A-Za-z0-9_-]*\.png)")


def overlay_name(number: int) -> str:
    """Return where the overlay of a surface lies below the report; surfaces are counted from 1."""
    return f"{FOLDER}/{number:05}.jpg"


def heat_name(number: int, label: str) -> str:
    """Return where the probabilities of one class lie; no two classes share a place."""
    return f"{FOLDER}/{number:05}-{told_apart(label, '-')}.png"


def clear(report: Path, lines: Path) -> None:
    """Take away the pictures and the page of an older report: only what its ``lines`` name, nobody else's.

    Raises:
        UsageError: a picture has such a name and is of no older report; nothing was taken away.
        OSError: one cannot be taken away.
    """
    named = {report / name for name in _named(lines)}
    try:
        foreign = sorted(
            path for path in (report / FOLDER).iterdir() if _OURS.fullmatch(path.name) and path not in named
        )
    except FileNotFoundError:
        foreign = []
    if foreign:
        raise UsageError(f"--report {report} has {foreign[0]}, which is of no older report; name another folder")
    for path in named:
        path.unlink(missing_ok=True)
    if named:
        (report / "index.html").unlink(missing_ok=True)  # it shows them


def _named(lines: Path) -> Iterator[str]:
    try:
        with lines.open(encoding="utf-8", errors="backslashreplace") as file:
            for number, line in enumerate(file, 1):
                labels = _judged(line)
                if labels is not None:
                    yield overlay_name(number)
                    yield from (heat_name(number, label) for label in labels)
    except FileNotFoundError:
        return


def _judged(line: str) -> Iterable[str] | None:
    """Return the classes of a surface that has pictures; None for one that has none, and for what is no such line."""
    try:
        record = json.loads(line)
        probability = record["tiles"]["probability"] if record["decision"] == "judged" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return probability if isinstance(probability, dict) else None
