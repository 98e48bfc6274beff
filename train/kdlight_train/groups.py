"""Which pictures belong together (patient, lesion, wall): from a CSV file, or from the file names."""

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.errors import DataError, UsageError
from kdlight_train.folders import PLAIN, Entry, Listing

SOURCES = "train_sources.csv"
"""A table of this name beside ``train/`` is used without being asked for (and so for the other parts)."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of one data folder."""

    of: Mapping[Path, str]
    """File to its group; a file that is not here is a group of its own."""
    notes: tuple[str, ...]
    """What the user should know, a line each."""


def group_by_table(root: Path, listing: Listing, table: Path) -> Grouping:
    """Read groups from a CSV file with the columns ``file`` and ``group``.

    ``file`` is relative to the folder of the training part (or to the plain folder, or to the data folder itself);
    a name that is not found there is looked for in the other parts. An empty group is a group of its own.

    A listed file that is not there and a picture that is not listed are told and are no error, because published
    tables cover more, or less, than what lies on a disk; but a table of which no file is found is one.

    Raises:
        DataError: the table cannot be read, lacks a column, names a file twice with different groups, or belongs to
            other pictures.
    """
    places = _places(root, listing)
    wanted = _read(table)
    found: dict[Path, str] = {}
    lost = []
    for name, group in wanted.items():
        path = places.get(name)
        if path is None:
            lost.append(name)
        else:
            found[path] = group
    if not found:
        raise DataError(f"none of the {len(wanted)} files in {table} is in {root} (first: {next(iter(wanted), '-')})")
    named = {path: group for path, group in found.items() if group}
    kinds = len(set(named.values()))
    notes = [f"groups from {table}: {kinds} of {len(named)} pictures, {len(found) - len(named)} without a group"]
    if lost:
        notes.append(f"{table}: {len(lost)} listed files are not in {root} (first: {lost[0]})")
    scope = {entry.part for entry in listing.entries if entry.path in found}
    bare = [entry for entry in listing.entries if entry.part in scope and entry.path not in found]
    if bare:
        notes.append(
            f"{table}: {len(bare)} pictures are not listed and count as groups of their own (first: {bare[0].path})"
        )
    return Grouping(named, tuple(notes))


def group_by_own_tables(root: Path, listing: Listing) -> Grouping:
    """Read ``train_sources.csv`` and its siblings where they stand beside the parts and have the two columns.

    One without them may be of somebody else's making: it is told that no group comes from there.

    Raises:
        DataError: a table cannot be read, and `group_by_table`.
    """
    groups: dict[Path, str] = {}
    notes: list[str] = []
    for part, folder in listing.folders.items():
        table = root / SOURCES.replace("train", part)
        if part == PLAIN or not table.is_file():
            continue
        with _rows(table) as rows:
            lack = _lack(rows)
        if lack:
            notes.append(f"{table} {lack}: no group is taken from there")
            continue
        own = Listing(tuple(entry for entry in listing.entries if entry.part == part), {part: folder}, ())
        grouping = group_by_table(root, own, table)
        groups.update(grouping.of)
        notes += grouping.notes if grouping.of else ()
    return Grouping(groups, tuple(notes))


def group_by_name(listing: Listing, pattern: str) -> Grouping:
    """Take the first capture group of a regular expression, searched in the file name.

    Raises:
        UsageError: it is not a regular expression, has no capture group, or matches no file name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-regex {pattern!r} is not a regular expression: {error}") from error
    if not expression.groups:
        raise UsageError(f"--group-regex {pattern!r} has no capture group; put what names the group in ( )")
    matches = {entry.path: expression.search(entry.path.name) for entry in listing.entries}
    found = {path: match.group(1) for path, match in matches.items() if match and match.group(1)}
    bare = [path for path in matches if path not in found]
    if matches and not found:
        raise UsageError(f"--group-regex {pattern!r} matches no file name (first: {bare[0].name})")
    note = f"{len(bare)} file names do not match --group-regex and count as groups of their own"
    return Grouping(found, (f"{note} (first: {bare[0].name})",) if bare else ())


def _places(root: Path, listing: Listing) -> dict[str, Path]:
    """Return every name by which a table may call a file; the training part's come first."""
    places: dict[str, Path] = {}
    for entry in listing.entries:
        for name in _names(root, entry):
            places.setdefault(name, entry.path)
    return places


def _names(root: Path, entry: Entry) -> tuple[str, str]:
    return entry.relative, entry.path.relative_to(root).as_posix()


def _read(table: Path) -> dict[str, str]:
    """Return file to group, in the order of the table."""
    wanted: dict[str, str] = {}
    with _rows(table) as rows:
        lack = _lack(rows)
        if lack:
            raise DataError(f"{table} {lack}")
        for row in rows:
            name, group = (row["file"] or "").strip().replace("\\", "/"), (row["group"] or "").strip()
            if wanted.setdefault(name, group) != group:
                raise DataError(f"{table} gives {name} the groups '{wanted[name]}' and '{group}'; keep one")
    return wanted


def _lack(rows: "csv.DictReader[str]") -> str | None:
    """Tell which of the two columns a table lacks, and what stands in its first line instead."""
    names = list(rows.fieldnames or ())
    missing = sorted({"file", "group"} - set(names))
    if not missing:
        return None
    column = "columns" if len(missing) > 1 else "column"
    return f"lacks the {column} {' and '.join(missing)} (its first line is '{','.join(names)}'; commas part columns)"


@contextmanager
def _rows(table: Path) -> Iterator["csv.DictReader[str]"]:
    """Open a table; what cannot be read is told in one line."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            yield csv.DictReader(file)
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}; check the path and its permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is not a CSV file in UTF-8: {error}") from error
