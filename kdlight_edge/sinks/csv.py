"""A table of predictions for a spreadsheet: one row each, a header first (RFC 4180 with plain line ends)."""

import csv
import io
import os

from kdlight_edge.decide import Prediction, rounded, utc
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.lines import Lines, open_lines

COLUMNS = (
    "source", "index", "captured", "label", "probability", "decision", "reason", "outlier", "age_ms", "dropped",
    "study", "instance", "frame",
)  # fmt: skip
"""The last three are of scans alone: hashes of their identifiers, and the number of the frame from 1."""


class Csv:
    """Writes the first label of each prediction."""

    wants_frames = False

    def __init__(self, lines: Lines, *, begun: bool = False) -> None:
        """Take where to write; the header stands before the first row, unless the table was ``begun`` before."""
        self._lines = lines
        self._begun = True if begun else None
        """Whether the header stands there; None before it was tried to write it."""
        self._row = io.StringIO()
        self._writer = csv.writer(self._row)

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write one row."""
        del frame
        self._begin()
        scan = prediction.scan or {}
        self._put((
            prediction.source, prediction.index, utc(prediction.captured), prediction.label,
            rounded(prediction.probability, 6), prediction.decision, prediction.reason, rounded(prediction.outlier, 4),
            round(prediction.age * 1000, 2), prediction.dropped, scan.get("study"), scan.get("instance"),
            scan.get("frame"),
        ))  # fmt: skip

    def _begin(self) -> None:
        if not self._begun:
            self._begun = False
            self._put(COLUMNS)
            self._begun = True

    def _put(self, row: tuple[object, ...]) -> None:
        self._writer.writerow(row)
        # Python quotes the line breaks in a name only where its own line end, \r\n, has them.
        line = self._row.getvalue().removesuffix("\r\n")
        self._row.seek(0)  # first, as a disk that refuses the line would have it again with the next
        self._row.truncate()
        self._lines.write(line)

    def close(self) -> None:
        """Write what is held back; a table of nothing has its header too."""
        try:
            if self._begun is None:
                self._begin()
        finally:
            self._lines.close()


def open_csv(path: str | os.PathLike[str], *, at_once: bool, go_on: bool) -> Csv:
    """Begin a table, or ``go_on`` with one; behind a file with other columns it begins anew, with a header of its own.

    Raises:
        KDLightError: as `open_lines`.
    """
    lines = open_lines(path, at_once=at_once, go_on=go_on)
    return Csv(lines, begun=go_on and os.path.isfile(path) and _is_table(path))  # noqa: PTH113 - a name of any type


def _is_table(path: str | os.PathLike[str]) -> bool:
    header = ",".join(COLUMNS).encode() + b"\n"
    with open(path, "rb") as file:  # noqa: PTH123 - a name of any type
        return file.read(len(header)) == header
