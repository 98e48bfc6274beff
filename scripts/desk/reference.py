"""Measured figures of known boards, a CSV file each, and a new measurement held against them in both directions."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

ALIKE = 0.10
"""Share within which two runs count as alike: the spread of medians seen between runs on one quiet board."""

FASTER, SLOWER, EQUAL = "better", "worse", "alike"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, with what must be equal for another one to be comparable, and where it comes from."""

    board: str
    """Its name here (`kdlight_devices.detect`)."""
    cpu: str
    """Of the fingerprint: two computers of one board name are two machines."""
    power_mode: str
    """Of a Jetson, else empty."""
    clocks: str
    """``deployed`` as found, or ``locked`` at their highest."""
    bundle: str
    digest: str
    """First 16 digits of the bundle's digest."""
    engine: str
    precision: str
    threads: str
    figure: str
    """For instance ``a.p90``."""
    value: float
    unit: str
    better: str
    """``lower`` or ``higher``."""
    labels: str
    """UNSTABLE, THROTTLED, joined by blanks."""
    kdlight_edge: str
    """Version of the program."""
    date: str
    """UTC."""
    command: str

    @property
    def key(self) -> tuple[str, ...]:
        """What two comparable rows share."""
        return (
            self.board, self.cpu, self.power_mode, self.clocks, self.bundle, self.engine, self.precision, self.threads,
            self.figure,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure beside its reference."""

    figure: str
    clocks: str
    unit: str
    measured: float
    reference: float
    ratio: float
    """Measured by reference."""
    verdict: str
    """``better``, ``worse`` or ``alike``, whichever way the figure counts."""
    note: str
    """Why the two may differ for another reason than speed; empty otherwise."""


def read_references(folder: Path) -> list[Row]:
    """Read every ``*.csv`` of a folder.

    Raises:
        ValueError: a file has other columns, or a value that is no number; the message names it.
    """
    names = [field.name for field in fields(Row)]
    rows = []
    for file in sorted(folder.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(line for line in lines if not line.startswith("#"))
            if reader.fieldnames != names:
                raise ValueError(f"{file} has the columns {reader.fieldnames}; these are wanted: {','.join(names)}")
            try:
                rows += [Row(**{**entry, "value": float(entry["value"])}) for entry in reader]  # type: ignore[arg-type]
            except (TypeError, ValueError) as error:
                raise ValueError(f"{file}, line {reader.line_num}: {error}") from error
    return rows


def write_rows(file: Path, rows: Sequence[Row], title: str) -> None:
    """Write one file, its first line a remark that says what was measured where."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        lines.write(f"# {title}\n")
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows([getattr(row, field.name) for field in fields(Row)] for row in rows)


def compare(rows: Iterable[Row], references: Iterable[Row]) -> list[Compared]:
    """Hold figures against those of the same machine, bundle, engine and clocks; of several the newest."""
    newest: Mapping[tuple[str, ...], Row] = {row.key: row for row in sorted(references, key=lambda row: row.date)}
    found = []
    for row in rows:
        known = newest.get(row.key)
        if known is not None and known.value > 0 and row.value > 0:
            ratio = row.value / known.value
            note = "" if known.digest == row.digest else f"the reference is of the bundle {known.digest}"
            found.append(
                Compared(
                    row.figure, row.clocks, row.unit, row.value, known.value, ratio, _verdict(ratio, row.better), note
                )
            )
    return found


def _verdict(ratio: float, better: str) -> str:
    if 1 / (1 + ALIKE) <= ratio <= 1 + ALIKE:
        return EQUAL
    return FASTER if (ratio < 1) == (better == "lower") else SLOWER
