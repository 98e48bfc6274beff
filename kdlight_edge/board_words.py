"""What a board says of itself, held to the shape that a fleet's table needs: whoever may write could send anything."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

LARGEST = 1e15
"""No figure of a board is as large; infinity and what is no number are not below it either."""

LONGEST = 200
"""Characters of a text in a table at most."""

Check = Callable[[Any], bool]


def read(last: str, payload: bytes | bytearray) -> Mapping[str, Any] | None:
    """Return a message of ``status`` or ``stats``; None for anything else, whatever it holds.

    Unknown keys pass: a newer version may add some.
    """
    try:
        said = json.loads(payload)
        known = said["schema"] == f"kdlight-edge/{last}/1"
    except (ValueError, KeyError, TypeError, RecursionError):  # RecursionError: nested deeper than Python reads
        return None
    fits = known and all(check(said.get(key)) for key, check in SHAPES[last].items())
    return said if fits else None


def seconds_of(text: Any) -> float | None:
    """Return a time in ISO 8601 as seconds since 1970."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value: Any, least: float = -LARGEST, most: float = LARGEST) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and value.isprintable()


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _table(check: Check) -> Check:
    return lambda value: (
        value is None or (isinstance(value, dict) and all(_text(key) and check(entry) for key, entry in value.items()))
    )


def _bundle(value: Any) -> bool:
    return isinstance(value, dict) and all(_or_none(_text)(value.get(key)) for key in ("name", "version", "digest"))


def _share(value: Any) -> bool:
    return _number(value, 0, 1)


def _count(value: Any) -> bool:
    return isinstance(value, int) and _number(value, 0)


_NUMBER, _TEXT, _COUNT = _or_none(_number), _or_none(_text), _or_none(_count)

SHAPES: dict[str, dict[str, Check]] = {
    "status": {"state": _text, "since": _TEXT, "bundle": _or_none(_bundle), "engine": _TEXT},
    "stats": {
        "at": lambda value: _text(value) and seconds_of(value) is not None,
        "every_s": _or_none(lambda value: _number(value, 0)),
        "fps": _NUMBER,
        "fps_limit": _NUMBER,
        "age_ms": _table(_NUMBER),
        "rates": _table(_share),
        "usual": _table(_or_none(_share)),
        "recent": _COUNT,
        "waiting": _COUNT,
        "lost": _COUNT,
        "celsius": _NUMBER,
        "throttled": lambda value: value is None or isinstance(value, bool),
        "bundle": _or_none(_bundle),
        "engine": _TEXT,
    },
}
"""Schema's last part to the keys that the table reads, each with what it may hold."""
