"""A table of predictions for a spreadsheet: one row each, a header first (RFC 4180 with plain line ends)."""

import csv
import io

from kdlight_edge.decide import Prediction, rounded, utc
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.lines import Lines

COLUMNS = (
    "source", "index", "captured", "label", "probability", "decision", "reason", "outlier", "age_ms", "dropped",
    "study", "instance", "frame",
)  # fmt: skip
"""The last three are of scans alone: hashes of their identifiers, and the number of the frame from 1."""


class Csv:
    """Writes the first label of each prediction."""

    wants_frames = False

    def __init__(self, lines: Lines) -> None:
        """Take where to write; the header is written at once."""
        self._lines = lines
        self._row = io.StringIO()
        self._writer = csv.writer(self._row)
        self._put(COLUMNS)

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write one row."""
        del frame
        scan = prediction.scan or {}
        age = (prediction.decided.monotonic - prediction.captured.monotonic) * 1000
        self._put((
            prediction.source, prediction.index, utc(prediction.captured), prediction.label,
            rounded(prediction.probability, 6), prediction.decision, prediction.reason, rounded(prediction.outlier, 4),
            round(age, 2), prediction.dropped, scan.get("study"), scan.get("instance"), scan.get("frame"),
        ))  # fmt: skip

    def _put(self, row: tuple[object, ...]) -> None:
        self._writer.writerow(row)
        # Python quotes the line breaks in a name only where its own line end, \r\n, has them.
        self._lines.write(self._row.getvalue().removesuffix("\r\n"))
        self._row.seek(0)
        self._row.truncate()

    def close(self) -> None:
        """Write what is held back."""
        self._lines.close()
