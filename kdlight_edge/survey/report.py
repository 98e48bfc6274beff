"""What an inspection leaves behind: a table, a map, JSON lines, overlays and one page that needs no network."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from kdlight_edge.durable import lock
from kdlight_edge.errors import KDLightError
from kdlight_edge.manifest import Manifest
from kdlight_edge.picture import to_jpeg
from kdlight_edge.survey.geojson import features_of
from kdlight_edge.survey.judge import Survey
from kdlight_edge.survey.page import Page
from kdlight_edge.survey.paint import heat_png
from kdlight_edge.survey.pictures import FOLDER, clear, heat_name, overlay_name
from kdlight_edge.survey.record import COLUMNS, Surface, to_record, to_rows

QUALITY = 88
"""Of the JPEG of an overlay."""

ODD_NAMES = "backslashreplace"
"""What becomes of bytes in a file's name that are no UTF-8: ``\\udcff``, as everywhere."""


class Report:
    """Takes surfaces one by one and holds little of each."""

    def __init__(
        self, origin: Mapping[str, Any], manifest: Manifest, folder: Path | None, read: str, listed: int
    ) -> None:
        self._origin, self._folder = origin, folder
        texts = {label.id: label.text for label in manifest.labels}
        self._page = Page(origin, texts, read, listed) if folder else None
        self._lines: list[TextIO] = []
        self._tables: list[TextIO] = []
        self._maps: list[TextIO] = []
        self._count = 0

    def open(self, files: contextlib.ExitStack, table: str | None, geojson: str | None) -> None:
        """Open what is written as it comes; a map is whole only once it is closed."""
        if self._folder is not None:
            lines = self._folder / "surfaces.jsonl"
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, handle)
            _alone(handle, self._folder)  # before the pictures of another run that is at work are taken away
            clear(self._folder, lines)
            (self._folder / FOLDER).mkdir(exist_ok=True)
            self._lines.append(_file(files, lines))
        for name, given, files_of in (("csv", table, self._tables), ("geojson", geojson, self._maps)):
            paths = [self._folder / f"surfaces.{name}"] if self._folder is not None else []
            files_of += [_file(files, path) for path in [*paths, *([Path(given)] if given else [])]]
        for file in self._tables:
            _put(file, _row(COLUMNS))
        for file in self._maps:
            _put(file, '{"type": "FeatureCollection", "features": [')

    def add(self, surface: Surface, picture: npt.NDArray[np.uint8] | None) -> None:
        """Write one surface; ``picture`` is its overlay, uint8 [h, w, 3] RGB."""
        for file in self._lines:
            _put(file, json.dumps(to_record(surface, self._origin)) + "\n")
        for file in self._tables:
            _put(file, "".join(_row(row) for row in to_rows(surface)))
        features = [json.dumps(feature) for feature in features_of(surface, self._origin)] if self._maps else []
        for file in self._maps:
            _put(file, (",\n" if self._count else "\n") + ",\n".join(features))
        self._count += 1
        if self._folder is not None and self._page is not None:
            shown = ""
            try:
                if picture is not None:
                    _whole(self._folder / overlay_name(self._count), to_jpeg(picture, QUALITY))
                    shown = overlay_name(self._count)
                if surface.survey is not None:
                    self._heat(self._folder, surface.survey)
            finally:
                self._page.add(surface, shown)  # what the lines have, the page has too

    def _heat(self, folder: Path, survey: Survey) -> None:
        for label, plane in zip(survey.classes, survey.chances, strict=True):
            _whole(folder / heat_name(self._count, label), heat_png(plane))

    def finish(self) -> None:
        """Close the maps and write the page."""
        for file in self._maps:
            _put(file, "\n]}\n")
        if self._folder is not None and self._page is not None:
            _whole(self._folder / "index.html", self._page.html().encode("utf-8", ODD_NAMES))


@contextlib.contextmanager
def open_report(
    folder: str | None,
    table: str | None,
    geojson: str | None,
    origin: Mapping[str, Any],
    manifest: Manifest,
    read: str,
    listed: int,
) -> Iterator[Report]:
    """Give a report that is finished at the end, also of a run that was stopped, or whose reader went away.

    Args:
        folder: for everything, made if need be; None for none.
        table: CSV file; None for none beside that of the folder.
        geojson: the same.
        origin: what is the same for every line of the run (`Classifier.origin`).
        manifest: of the bundle.
        read: the folder or picture that is inspected; the page names pictures by their path below it.
        listed: how many pictures are to come; a page with fewer says so.

    Raises:
        KDLightError: it cannot be written.
        UsageError: the folder has pictures of somebody else's where those of the report belong.
    """
    report = Report(origin, manifest, Path(folder) if folder else None, read, listed)
    with contextlib.ExitStack() as files:
        try:
            report.open(files, table, geojson)
            try:
                yield report
            finally:
                report.finish()
        except BrokenPipeError:
            raise
        except OSError as error:
            name = f" {error.filename}" if error.filename else ""
            raise KDLightError(f"the report{name} cannot be written: {error.strerror}; choose another place") from error


def _file(files: contextlib.ExitStack, path: Path) -> TextIO:
    file = path.open("a", encoding="utf-8", errors=ODD_NAMES)
    files.callback(_close, file)
    if path.is_file():  # a pipe or /dev/null takes what any number of processes write
        _alone(file.fileno(), path)
        file.truncate(0)
    return file


def _alone(handle: int, path: Path) -> None:
    try:
        lock(handle)
    except BlockingIOError as error:
        raise KDLightError(f"{path} is being written by another process; name another place") from error


def _put(file: TextIO, text: str) -> None:
    """Write at once, so that what was told is on the disk, and an error has the name of its file."""
    try:
        file.write(text)
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritten(file.name, error) from error


def _whole(path: Path, content: bytes) -> None:
    """Write a file or none: half a picture would take the room of the page, and half a page opens empty."""
    try:
        path.write_bytes(content)
    except OSError as error:
        if error.filename is not None:  # it was not even opened: what is there is not ours
            raise
        path.unlink(missing_ok=True)
        raise _unwritten(path, error) from error


def _close(file: TextIO) -> None:
    try:
        file.close()
    except BrokenPipeError:
        raise
    except OSError as error:  # what `_put` could not write is tried once more
        raise _unwritten(file.name, error) from error


def _unwritten(name: str | Path, error: OSError) -> KDLightError:
    return KDLightError(f"{name} cannot be written: {error.strerror}; make room or choose another place")


def _row(values: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)  # whose own line end, \r\n, makes it quote either of them in a name
    return text.getvalue().removesuffix("\r\n") + "\n"
