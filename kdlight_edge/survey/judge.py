"""A picture to the answers of its tiles: rows are read while the tiles of the rows before are judged on all cores."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings, decide
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.manifest import Manifest
from kdlight_edge.prepare import prepare
from kdlight_edge.quality import Quality
from kdlight_edge.survey.grid import Grid, grid_of
from kdlight_edge.survey.raster import Raster

BATCH, SHARE = 16, 4
"""Tiles a run of an engine that is asked in turn, and of one that several workers ask at once: small networks gain
nothing by larger batches, and the last ones of a row leave a worker without work."""

CLEAN, ABSTAINED, OUTLIER, DARK, OVER, BLURRED, EMPTY, ERROR = ".", "a", "o", "d", "w", "b", "e", "x"

FOUND = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters of the classes that matter, in their order."""

SKIPPED = {
    ABSTAINED: "abstained", OUTLIER: "outlier", DARK: "dark", OVER: "over-exposed", BLURRED: "blurred", EMPTY: "empty",
    ERROR: "error",
}  # fmt: skip
"""Letter of a tile that was not judged to the reason in a word."""

BLANK = 0.1
"""Share of a tile in pure black above which it is empty: an orthomosaic is black where nothing was seen."""

_LETTERS = {name: letter for letter, name in SKIPPED.items()}


class Answer(NamedTuple):
    """What one tile is."""

    letter: str
    """`CLEAN`, a letter of `SKIPPED`, or one of `FOUND` for a class that matters (see `Survey.classes`)."""
    chances: tuple[float, ...]
    """Calibrated probability of each class that matters; empty where the network was not asked."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The answers of all tiles of one picture."""

    grid: Grid
    classes: tuple[str, ...]
    """Ids of the labels that matter; the first is `FOUND`'s first in the letters."""
    letters: npt.NDArray[np.str_]
    """str [rows, columns], a letter each."""
    chances: npt.NDArray[np.float32]
    """float32 [classes, rows, columns]; NaN where the network was not asked."""
    seconds: float

    def found(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which tiles show the class of that place in `classes`, bool [rows, columns]."""
        found: npt.NDArray[np.bool_] = self.letters == FOUND[number]
        return found

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Which tiles have an answer that counts, bool [rows, columns]."""
        return ~np.isin(self.letters, list(SKIPPED))


def classes_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the ids of the labels that matter."""
    return tuple(label.id for label in manifest.labels if label.positive)


class Judge:
    """Judges tiles with a classifier; one for a whole inspection."""

    def __init__(self, classifier: Classifier, *, conf: float | None = None, workers: int = 0) -> None:
        """Take an opened classifier, best with one thread a run, as the workers take the cores.

        0 workers are one for each core that this process may use.
        """
        manifest = classifier.bundle.manifest
        self.classes = classes_of(manifest)
        self._classifier = classifier
        self._settings = Settings(conf, len(manifest.labels))
        count = (workers or len(os.sched_getaffinity(0))) if classifier.engine.concurrent else 1
        self._batch_size = SHARE if count > 1 else BATCH
        self._pool = ThreadPoolExecutor(count, "tiles")

    def survey(
        self,
        raster: Raster,
        size: int,
        overlap: float,
        *,
        seen: Callable[[int, npt.NDArray[np.uint8]], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Survey | None:
        """Judge every tile of a picture.

        Args:
            raster: the picture.
            size: side of a tile, pixels.
            overlap: least share of a tile that the next one covers too.
            seen: is given every row of the picture once, in bands from the top: first row, uint8 [h, width, 3].
            stop: once set, the picture is given up.

        Returns:
            The answers; None after ``stop``.

        Raises:
            DataError: a part of the picture cannot be read.
        """
        started = time.perf_counter()
        grid = grid_of(raster.width, raster.height, size, overlap)
        rows: list[list[Future[list[Answer]]]] = []
        shown = 0
        try:
            for number, top in enumerate(grid.tops):
                if stop is not None and stop.is_set():
                    return None
                band = raster.rows(top, top + grid.down)
                step = self._batch_size
                rows.append(
                    [
                        self._pool.submit(self._batch, band, grid, grid.lefts[at : at + step])
                        for at in range(0, len(grid.lefts), step)
                    ]
                )
                if seen is not None:
                    seen(shown, band[shown - top :])
                    shown = top + grid.down
                if number:  # the band of the row before goes when its tiles are done: two are held, never more
                    _wait(rows[-2])
            answers = [[answer for job in jobs for answer in job.result()] for jobs in rows]
        finally:
            for jobs in rows:
                for job in jobs:
                    job.cancel()
        return self._gathered(grid, answers, time.perf_counter() - started)

    def _gathered(self, grid: Grid, answers: list[list[Answer]], seconds: float) -> Survey:
        letters = np.array([[answer.letter for answer in row] for row in answers])
        nothing = (float("nan"),) * len(self.classes)
        chances = np.array([[answer.chances or nothing for answer in row] for row in answers], np.float32)
        return Survey(grid, self.classes, letters, np.moveaxis(chances, 2, 0), seconds)

    def _batch(self, band: npt.NDArray[np.uint8], grid: Grid, lefts: tuple[int, ...]) -> list[Answer]:
        """Judge some tiles of one row."""
        manifest, engine = self._classifier.bundle.manifest, self._classifier.engine
        tiles = [prepare(band[:, left : left + grid.across], manifest) for left in lefts]
        letters = [unfit(tile) for tile in tiles]
        asked = [tile for tile, letter in zip(tiles, letters, strict=True) if not letter]
        if not asked:
            return [Answer(letter, ()) for letter in letters]
        outputs = engine.run(np.stack(asked))
        rows = iter(zip(asked, outputs.logits, outputs.outlier, strict=True))
        return [Answer(letter, ()) if letter else self._answer(*next(rows)) for letter in letters]

    def _answer(self, tile: npt.NDArray[np.uint8], logits: npt.NDArray[np.float32], outlier: np.float32) -> Answer:
        manifest, artifact = self._classifier.bundle.manifest, self._classifier.engine.artifact
        frame = Frame(tile, Moment(0.0, 0.0), "", 0)
        found = decide(frame, logits, float(outlier), manifest, artifact, self._settings)
        if found.label is None:
            return Answer(ERROR, ())
        by_label = dict(found.top)
        chances = tuple(by_label[name] for name in self.classes)
        if found.decision != "accepted":
            return Answer(_LETTERS[found.decision], chances)
        return Answer(FOUND[self.classes.index(found.label)] if found.label in self.classes else CLEAN, chances)

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(cancel_futures=True)


def _wait(jobs: list[Future[list[Answer]]]) -> None:
    for job in jobs:
        job.result()


def unfit(tile: npt.NDArray[np.uint8]) -> str:
    """Return the letter of a prepared tile, uint8 [H, W, 3], that cannot be judged; empty where it can."""
    grey: Any = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    most = BLANK * grey.size
    # What is black is black in grey too, which is quicker to count, and most tiles have none of it.
    if grey.size - cv2.countNonZero(grey) > most and cv2.countNonZero(cv2.inRange(tile, (0, 0, 0), (0, 0, 0))) > most:
        return EMPTY
    # A judge of its own each: what a tile is must not hang on the tile before it.
    reason = Quality().look_at(grey).partition(":")[0]
    return _LETTERS[reason] if reason else ""
