"""The timed scenarios of a benchmark inside one process: the network alone, bytes to result, and all cores at work."""

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kdlight_edge import stream
from kdlight_edge.classifier import Classifier
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.golden import golden_picture
from kdlight_edge.meter import collect, summary, warm_up
from kdlight_edge.picture import decode, to_jpeg
from kdlight_edge.prepare import prepare
from kdlight_edge.sources.album import InOrder
from kdlight_edge.sources.folder import Folder

if TYPE_CHECKING:
    from kdlight_edge.decide import Prediction

SIZES = ((224, 224), (640, 480))
"""Width and height of the encoded pictures: a data set's usual size, and a camera's."""

TILES = 24
"""Golden pictures that the encoded ones are pieced together from."""

FILES = 2048
"""Of a folder at most: some tens of megabytes, which a small board has to spare."""

REPEATS = 5
"""Runs of a throughput figure, of which the median and the range are stated."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    seconds: float
    """Least time of each scenario."""
    samples: int
    """Least number of samples of each: 64 prove a p90, 662 a p99."""
    warm_limit: float
    """Seconds after which an unsteady warm-up is given up."""
    pictures: int
    """Different encoded pictures of each size."""


def encoded_pictures(width: int, height: int, count: int) -> list[bytes]:
    """Return JPEG files (quality 90, 4:2:0) pieced together from golden pictures: the same on every machine."""
    tiles = [golden_picture(seed) for seed in range(TILES)]
    chance = random.Random(width * height)
    rows, columns = -(-height // tiles[0].shape[0]), -(-width // tiles[0].shape[1])
    pictures = []
    for _ in range(count):
        chosen = [np.hstack([chance.choice(tiles) for _ in range(columns)]) for _ in range(rows)]
        pictures.append(to_jpeg(np.vstack(chosen)[:height, :width], 90))
    return pictures


class Encoded(InOrder):
    """Encoded pictures in memory as an album: what a folder is, without the disk."""

    def __init__(self, pictures: Sequence[bytes], count: int) -> None:
        """Take the pictures, which are given ``count`` times in all, in a seeded random order with replacement."""
        self._pictures = pictures
        self._order = random.Random(0).choices(range(len(pictures)), k=count)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Frame:
        """Decode one picture; may be called from several threads."""
        return frame_of(self._pictures[self._order[index]], index)


def frame_of(content: bytes, index: int = 0) -> Frame:
    """Decode encoded bytes to a frame, with the time that took, as the folder source does."""
    started, captured = time.perf_counter(), Moment.now()
    image = decode(content)
    return Frame(image, captured, "memory", index, 0, {"decode_ms": (time.perf_counter() - started) * 1000})


def model_only(classifier: Classifier, effort: Effort, keep: list[float] | None = None) -> dict[str, Any]:
    """Time the engine alone: one prepared picture after the other, batch 1, with copying in and out.

    ``keep`` is given every time, milliseconds.

    Returns:
        What `summary` gives, ``warm_up`` (seconds, runs, stable) and ``gmacs_per_second`` at the median.
    """
    manifest = classifier.bundle.manifest
    batches = [prepare(golden_picture(seed), manifest)[np.newaxis] for seed in range(8)]
    order: Iterator[npt.NDArray[np.uint8]] = _endless(batches)
    warm = warm_up(lambda: classifier.engine.run(next(order)), limit=effort.warm_limit)
    times = collect(lambda: classifier.engine.run(next(order)), seconds=effort.seconds, samples=effort.samples)
    if keep is not None:
        keep.extend(times)
    found = summary(times)
    median = found["p50"] or found["mean"]
    rate = manifest.macs / (median * 1e6)
    return {**found, "warm_up": _plain(warm), "gmacs_per_second": rate}


def bytes_to_result(
    classifier: Classifier, pictures: Sequence[bytes], effort: Effort, keep: list[float] | None = None
) -> dict[str, Any]:
    """Time a whole answer: encoded bytes, decode, prepare, run, decide; one picture after the other.

    ``keep`` is given every time, milliseconds.

    Returns:
        What `summary` gives, ``stages`` (mean milliseconds of each), ``warm_up`` and ``mean_file_bytes``.
    """
    order = _endless(pictures)
    answers: list[Prediction] = []

    def answer() -> None:
        answers.append(classifier.classify(frame_of(next(order))))

    warm = warm_up(answer, limit=effort.warm_limit)
    answers.clear()
    times = collect(answer, seconds=effort.seconds, samples=effort.samples)
    if keep is not None:
        keep.extend(times)
    found = summary(times)
    stages = {
        stage: statistics.fmean((answered.milliseconds or {})[stage] for answered in answers)
        for stage in answers[0].milliseconds or {}
    }
    size = statistics.fmean(map(len, pictures))
    return {**found, "stages": stages, "warm_up": _plain(warm), "mean_file_bytes": round(size)}


def throughput(
    classifier: Classifier, pictures: Sequence[bytes], effort: Effort, folder: Path | None = None
) -> dict[str, Any]:
    """Count whole answers a second with one worker a core, as a folder run has them.

    The classifier is opened with one thread, as the workers take the cores; the repeats share the seconds. Pictures are
    written to ``folder``, an empty one, first and read from there; without it they come from memory.

    Returns:
        ``workers``, ``images_per_second`` (median of the repeats), ``min``, ``max`` and ``runs``.
    """
    workers = len(os.sched_getaffinity(0)) if classifier.engine.concurrent else 1
    trial = stream.run(Encoded(pictures, effort.samples), classifier, [], workers=workers)
    count = max(effort.samples, round(trial.images_per_second * effort.seconds / REPEATS))
    if folder is not None:
        for index in range(min(count, FILES)):
            (folder / f"{index:05}.jpg").write_bytes(pictures[index % len(pictures)])
    runs = []
    for _ in range(REPEATS):
        album = Encoded(pictures, count) if folder is None else Folder(folder)
        runs.append(round(stream.run(album, classifier, [], workers=workers).images_per_second, 1))
    return {
        "workers": workers,
        "images_per_second": statistics.median(runs),
        "min": min(runs),
        "max": max(runs),
        "runs": runs,
    }


def _endless(items: Sequence[Any]) -> Iterator[Any]:
    chance = random.Random(0)
    while True:
        yield chance.choice(items)


def _plain(warm: Any) -> dict[str, Any]:
    return {"seconds": round(warm.seconds, 3), "runs": warm.runs, "stable": warm.stable}
