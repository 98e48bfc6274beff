"""Events and the frames around them: a folder each, bounded on the disk, and a line in events.jsonl."""

import collections
import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.decide import Prediction, utc
from kdlight_edge.errors import KDLightError
from kdlight_edge.events import Event, Events, to_record
from kdlight_edge.explain import Explain
from kdlight_edge.frame import Frame
from kdlight_edge.picture import to_jpeg
from kdlight_edge.plain import plain, stamped
from kdlight_edge.sinks.rotate import KEPT, Rotating
from kdlight_edge.sources import tell

SPACING = 0.5
"""Seconds between the frames that are kept: a ring of every frame would be memory without news."""

BEFORE, AFTER = 8, 8
"""Frames saved from before an event was held, and from then on."""

LARGEST = 1280
"""Longer side of a saved frame, pixels; also what bounds the ring's memory: 22 MB a camera."""

KEPT_BYTES = 256 << 20
"""Bytes of the folder above which the oldest events make room."""

LINES_BYTES = 10 << 20
"""Of events.jsonl, above which the next is begun: something that flickers all day writes ten gigabytes in a year."""

QUALITY = 88
"""Of the JPEG."""

_OURS = re.compile(r"\d{4}-\d\d-\d\dT\d{9}Z-[A-Za-z0-9_-]*-[0-9a-f]{6}")
"""Name of an event's folder: what is called otherwise is somebody's own."""

Picture = npt.NDArray[np.uint8]


class EventFolder:
    """Takes every result and frame, and writes what happened.

    Belongs behind an `Outbox`, as it draws JPEGs. A disk that refuses is told once and tried again at the next event.
    """

    wants_frames = True

    def __init__(
        self,
        folder: Path,
        events: Events,
        origin: Mapping[str, Any],
        *,
        limit: int = KEPT_BYTES,
        report: Callable[[str], None] = tell,
        explain: Explain | None = None,
    ) -> None:
        """Make the folder; ``explain`` draws the map of the frame with which an event begins, if any is drawn.

        Raises:
            KDLightError: it cannot be written, or another process writes it.
        """
        self._folder, self._events, self._origin, self._limit, self._report = folder, events, origin, limit, report
        self._explain = explain
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KDLightError(f"{folder} cannot be made: {error.strerror}; choose another --event-dir") from error
        self._lines = Rotating(folder / "events.jsonl", limit=LINES_BYTES, keep=KEPT, patient=True)
        self._rings: dict[str, collections.deque[tuple[float, str, Picture]]] = {}
        self._open: dict[str, tuple[Path, int]] = {}
        """Source to the folder of its event and the number of frames that may still come."""
        self._sizes: dict[str, int] = {}
        """Bytes of the folders of events that are over, which change no more: to look at thousands takes seconds."""
        self._made: dict[str, None] = {}
        """Folders of this run that are still there, in their order."""
        self._failing = self._closed = False

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Follow one result."""
        kept = None if frame is None else self._keep(frame)
        try:
            for event in self._events.add(prediction):
                self._tell(event)
                if event.state == "held" and frame is not None:
                    self._save_map(prediction, frame)
            if kept is not None and prediction.source in self._open:
                place, left = self._open[prediction.source]
                if left:
                    _save(place, *kept[1:])
                    self._open[prediction.source] = (place, left - 1)
            self._failing = False
        except (OSError, KDLightError) as error:
            if not self._failing:
                self._report(f"events: {error}; trying again at the next one")
            self._failing = True

    def _keep(self, frame: Frame) -> tuple[float, str, Picture] | None:
        """Lay a frame into its camera's ring where the last one is old enough."""
        ring = self._rings.setdefault(frame.source, collections.deque(maxlen=BEFORE))
        if ring and frame.captured.monotonic - ring[-1][0] < SPACING:
            return None
        ring.append((frame.captured.monotonic, _name(frame), _sized(frame.image)))
        return ring[-1]

    def _save_map(self, prediction: Prediction, frame: Frame) -> None:
        """Save it beside the frames, which stay as the camera gave them."""
        if self._explain is not None:
            place, _ = self._open[prediction.source]
            _save(place, f"{_name(frame)}-map", self._explain(prediction, frame.image, _sized(frame.image)))

    def _tell(self, event: Event) -> None:
        if event.state == "held":
            stamp = re.sub(r"[:.]", "", utc(event.began))
            place = self._folder / f"{stamp}-{plain(event.label)}-{secrets.token_hex(3)}"
            self._make_room()
            place.mkdir()
            self._made[place.name] = None
            try:
                for _, name, picture in self._rings.get(event.source, ()):
                    _save(place, name, picture)
            except OSError:  # a disk that stays full would keep thousands of folders with nothing in them
                if not any(place.glob("*.jpg")):
                    shutil.rmtree(place, ignore_errors=True)
                raise
            self._open[event.source] = (place, AFTER)
        known = self._open.get(event.source) if event.state == "held" else self._open.pop(event.source, None)
        record = {**to_record(event), "folder": known[0].name if known else None, **self._origin}
        self._lines.write(json.dumps(record))

    def _make_room(self) -> None:
        """Take the oldest events away until the rest is below nine tenths of the limit; none that goes on.

        Those of earlier runs go first, by their names: the clock may have been ahead then, or be behind until a board
        without one of its own has a network, and the newest would go as the oldest.
        """
        going_on = {place.name for place, _ in self._open.values()}
        with os.scandir(self._folder) as entries:
            there = {entry.name for entry in entries if _is_event(entry)}
        self._made = {name: None for name in self._made if name in there}
        found = [*sorted(there - self._made.keys()), *self._made]
        sizes = {name: self._sizes.get(name) or _bytes_of(self._folder / name) for name in found}
        self._sizes = {name: size for name, size in sizes.items() if name not in going_on}
        total = sum(sizes.values())
        if total <= self._limit:
            return
        for name in found:
            if total <= self._limit * 9 // 10:
                break
            if name not in going_on:
                shutil.rmtree(self._folder / name, ignore_errors=True)
                total -= sizes[name]

    def close(self) -> None:
        """End the events that go on; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError, KDLightError):  # told when it began
            for event in self._events.end():
                self._tell(event)
        self._lines.close()


def _name(frame: Frame) -> str:
    return stamped(utc(frame.captured), frame.index)


def _is_event(entry: os.DirEntry[str]) -> bool:
    return _OURS.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)


def _bytes_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; what a person takes away meanwhile has none."""
    total = 0
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            total += file.stat().st_size
    return total


def _sized(image: Picture) -> Picture:
    scale = min(1.0, LARGEST / max(image.shape[:2]))
    if scale == 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _save(place: Path, name: str, picture: Picture) -> None:
    half = place / f".{name}.part"
    half.write_bytes(to_jpeg(picture, QUALITY))
    half.rename(place / f"{name}.jpg")
