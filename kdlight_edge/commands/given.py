"""Which flags of ``infer`` were given: those that say something else than what holds without them."""

import argparse
from collections.abc import Iterable
from typing import Any

DEFAULTS: dict[str, Any] = {
    "topk": 1, "frames": 0, "threads": 0, "stall_timeout": 5.0, "freeze_timeout": 5.0, "governor": "on",
}  # fmt: skip
"""What holds where nobody says anything, and is no absence; a printed configuration says all of it."""


def given(args: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return those of the flags that were given, as they are written."""
    values = ((name, getattr(args, name)) for name in names)
    return [
        f"--{name.replace('_', '-')}"
        for name, value in values
        if value is not None and value is not False and value != DEFAULTS.get(name)
    ]
