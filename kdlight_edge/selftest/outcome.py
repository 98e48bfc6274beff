"""What a check found: one word, one line for people, how long it took and the figures behind it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdlight_edge.errors import KDLightError

Status = Literal["ok", "failed", "skipped"]


class Wrong(Exception):
    """A check found something wrong; the message says what, with the value."""


class Skipped(Exception):
    """A check that cannot be made here; the message says why, and what would make it possible."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check."""

    name: str
    status: Status
    text: str
    """One line for people: what was seen, or what is wrong."""
    seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was counted and measured."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a check that passed has to say."""

    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def judge(name: str, check: Callable[[], Found]) -> Outcome:
    """Make one check; whatever it raises is its outcome, so that the others are made too."""
    started = time.monotonic()
    try:
        found = check()
    except Skipped as error:
        return Outcome(name, "skipped", str(error), time.monotonic() - started)
    except (Wrong, KDLightError) as error:
        return Outcome(name, "failed", str(error), time.monotonic() - started)
    except Exception as error:  # noqa: BLE001 - a part that breaks in a way nobody foresaw is what a self-test is for
        return Outcome(name, "failed", f"{type(error).__name__}: {error}", time.monotonic() - started)
    return Outcome(name, "ok", found.text, time.monotonic() - started, found.figures)
