"""One JSON object a line for each prediction."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from kdlight_edge.decide import SCHEMA, Prediction, to_record, utc
from kdlight_edge.events import Event
from kdlight_edge.events import to_record as event_record
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.lines import Writer

_quoted = functools.lru_cache(maxsize=256)(json.dumps)
"""Texts that come again and again: a camera, labels, reasons."""


class JsonLines:
    """Writes the record of `kdlight_edge.decide.to_record`; ASCII, so that any file name goes through."""

    wants_frames = False

    def __init__(self, lines: Writer, origin: Mapping[str, Any]) -> None:
        """Take where to write, and what is the same for every line (`Classifier.origin`)."""
        self._lines = lines
        self._origin = origin
        self._before: dict[str, Any] = {}
        self._tail = "}"
        """What is the same for every line, as text, until the origin changes."""

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write one line."""
        del frame
        if self._origin != self._before:
            self._before = dict(self._origin)
            self._tail = f", {json.dumps(self._before)[1:]}"
        self._lines.write(line_of(prediction, self._tail))

    def tell(self, event: Event) -> None:
        """Write one line for an event, told apart by its schema."""
        self._lines.write(json.dumps({**event_record(event), **self._origin}))

    def close(self) -> None:
        """Write what is held back."""
        self._lines.close()


def line_of(prediction: Prediction, tail: str) -> str:
    """Return what ``json.dumps`` makes of `to_record`, put together from its parts.

    ``tail`` ends each line: a comma, and the JSON object of what is the same for all without its first brace.
    """
    if prediction.scan is not None or prediction.vote is not None:
        return f"{json.dumps(to_record(prediction, {}))[:-1]}{tail}"
    top = ", ".join([f'{{"label": {_quoted(label)}, "probability": {_number(p, 6)}}}' for label, p in prediction.top])
    stages = (prediction.milliseconds or {}).items()
    times = ", ".join([f"{_quoted(stage)}: {_number(value, 3)}" for stage, value in stages])
    return (
        f'{{"schema": "{SCHEMA}", "captured": "{utc(prediction.captured)}", "decided": "{utc(prediction.decided)}", '
        f'"age_ms": {_number(prediction.age * 1000, 2)}, "source": {_quoted(prediction.source)}, '
        f'"index": {prediction.index}, "dropped": {prediction.dropped}, "label": {_quoted(prediction.label)}, '
        f'"probability": {_number(prediction.probability, 6)}, "top": [{top}], '
        f'"decision": "{prediction.decision}", "reason": {_quoted(prediction.reason)}, '
        f'"outlier": {_number(prediction.outlier, 4)}, "milliseconds": {{{times}}}{tail}'
    )


def _number(value: float | None, digits: int) -> str:
    return "null" if value is None else float.__repr__(round(value, digits))
