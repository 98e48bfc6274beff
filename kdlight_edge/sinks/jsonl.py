"""One JSON object a line for each prediction."""

import json
from collections.abc import Mapping
from typing import Any

from kdlight_edge.decide import Prediction, to_record
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.lines import Writer


class JsonLines:
    """Writes the record of `kdlight_edge.decide.to_record`; ASCII, so that any file name goes through."""

    wants_frames = False

    def __init__(self, lines: Writer, origin: Mapping[str, Any]) -> None:
        """Take where to write, and what is the same for every line (`Classifier.origin`)."""
        self._lines = lines
        self._origin = origin

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write one line."""
        del frame
        self._lines.write(json.dumps(to_record(prediction, self._origin)))

    def close(self) -> None:
        """Write what is held back."""
        self._lines.close()
