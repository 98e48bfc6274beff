"""From a source to the sinks: every picture of a folder in order on all cores, the newest frame of a camera at once."""

import contextlib
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction, failed
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.pace import Pace
from kdlight_edge.prepare import need_of
from kdlight_edge.progress import Progress
from kdlight_edge.quality import Quality
from kdlight_edge.sinks import Sink
from kdlight_edge.sources import Album, Shrinking, Source
from kdlight_edge.tally import Summary, Tally, truth_of
from kdlight_edge.vote import Vote

AHEAD = 4
"""Pictures per worker that may be decided before an earlier one is: bounds memory when one picture takes long."""

AHEAD_LIGHT = 32
"""The same where no sink wants the pictures themselves: results alone weigh nothing."""


LOOK_UP = 1.0
"""Seconds after which what waits for a run's end looks whether it came without being asked for."""

FAREWELL = 5.0
"""Seconds that the workers of an album have at the end for the pictures in work: one may hang on a dead disk."""


class Result(NamedTuple):
    """One picture on its way from a worker to the sinks."""

    prediction: Prediction
    frame: Frame | None
    """Kept only where a sink draws it."""
    truth: str | None


def run(
    source: Source,
    classifier: Classifier,
    sinks: Sequence[Sink],
    *,
    stop: threading.Event | None = None,
    workers: int = 0,
    limit: int = 0,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Summary:
    """Classify what a source gives until it ends, and close it and the sinks.

    Args:
        source: an `Album` is read and classified by several threads, any other source in this one.
        classifier: for an album its engine is best opened with one thread, as the workers take the cores.
        sinks: each is given every prediction, in the order of the source, by this thread.
        stop: once set, what was begun is finished and delivered, and no more is begun.
        workers: threads for an album; 0 is one for each core that this process may use.
        limit: how many pictures to take at most; 0 for all.
        progress: is told of every picture.
        pace: of a source that is no album.

    Raises:
        SourceError: a live source stayed away too long.
        KDLightError: a sink cannot write.
    """
    stop = stop or threading.Event()
    keep = any(sink.wants_frames for sink in sinks)
    manifest = classifier.bundle.manifest
    if not keep and isinstance(source, Shrinking):
        # A frame of a camera is also shown to the version that may follow, whose picture may have colours.
        source.shrink(need_of(manifest.input, live=not isinstance(source, Album)))
    labels = frozenset(label.id for label in manifest.labels)
    if isinstance(source, Album):
        threads = (workers or len(os.sched_getaffinity(0))) if classifier.engine.concurrent else 1
        ahead = threads * (AHEAD if keep else AHEAD_LIGHT)
        results = _Crew(source, classifier, labels, limit=limit, ahead=ahead, keep=keep).results(threads, stop)
    else:
        results = _one_by_one(source, classifier, labels, limit, stop, pace or Pace())
    tally = Tally()
    started = time.perf_counter()
    # The results end first: no worker may be in work when what it works with is closed.
    with _closing(source, sinks), contextlib.closing(results):
        for prediction, frame, truth in results:
            for sink in sinks:
                sink.write(prediction, frame)
            tally.add(prediction, truth)
            if progress is not None:
                errors = tally.decisions["error"]
                progress.update(1, failed=errors) if errors else progress.update(1)
        elapsed = time.perf_counter() - started
    return tally.summary(elapsed)


def _classify(
    item: Frame | Unreadable, classifier: Classifier, labels: frozenset[str], quality: Quality | None = None
) -> Result:
    if isinstance(item, Unreadable):
        return Result(failed(item), None, None)
    prediction = classifier.classify(item, quality)
    if prediction.decision == "error":
        return Result(prediction, None, None)
    return Result(prediction, item, truth_of(item.meta, labels))


def _one_by_one(
    source: Source, classifier: Classifier, labels: frozenset[str], limit: int, stop: threading.Event, pace: Pace
) -> Generator[Result, None, None]:
    """Classify in the calling thread; another one waits for ``stop``, as this one may be waiting for a frame."""
    finished = threading.Event()

    def close_on_stop() -> None:
        while not finished.is_set():
            if stop.wait(LOOK_UP) and not finished.is_set():
                source.close()
                return

    watcher = threading.Thread(target=close_on_stop, name="stop", daemon=True)
    watcher.start()
    try:
        items = iter(source)
        judges, seconds = classifier.settings.quality, classifier.settings.vote
        votes: dict[str, Vote] = {}
        # What was refused must become clearly better before it is let in again: each camera has a past of its own.
        qualities: dict[str, Quality] = {}
        for count, item in enumerate(items, 1):
            quality = qualities.setdefault(item.source, Quality()) if judges else None
            result = _classify(item, classifier, labels, quality)
            if seconds is not None:
                vote = votes.get(item.source) or votes.setdefault(item.source, Vote(seconds))
                result = result._replace(prediction=vote.add(result.prediction))
            yield result
            if count == limit or stop.is_set():
                # Asked once more, a source that keeps a list, or owes a sender an answer, learns that its last picture
                # was delivered.
                source.close()
                next(items, None)
                return
            pace.wait(stop)
    finally:
        finished.set()  # the watcher ends when it looks up next: no run waits for it


class _Crew:
    """Threads that each read and classify the next picture of an album, and the order in which results leave."""

    def __init__(
        self, album: Album, classifier: Classifier, labels: frozenset[str], *, limit: int, ahead: int, keep: bool
    ) -> None:
        self._album = album
        self._classifier = classifier
        self._labels = labels
        self._count = min(limit, len(album)) if limit else len(album)
        self._ahead = ahead
        self._keep = keep
        self._changed = threading.Condition()
        self._begun = 0
        self._delivered = 0
        self._ready: dict[int, Result] = {}
        self._error: BaseException | None = None
        self._over = False

    def results(self, threads: int, stop: threading.Event) -> Generator[Result, None, None]:
        """Yield the results in order; after ``stop`` those that were begun. No worker is in work afterwards."""
        crew = [
            threading.Thread(target=self._work, args=(stop,), name=f"worker {n}", daemon=True) for n in range(threads)
        ]
        for thread in crew:
            thread.start()
        try:
            while ready := self._next():
                yield from ready
        finally:
            try:
                with self._changed:
                    self._over = True
                    self._changed.notify_all()
            finally:
                _join(crew)

    def _next(self) -> list[Result]:
        """Wait for the results that are next in order; none at the end."""
        with self._changed:
            while self._delivered not in self._ready:
                if self._error is not None:
                    raise self._error
                if self._delivered == self._count or (self._over and self._delivered == self._begun):
                    return []
                self._changed.wait(LOOK_UP)
            ready = []
            while (result := self._ready.pop(self._delivered, None)) is not None:
                ready.append(result)
                self._delivered += 1
            self._changed.notify_all()
            return ready

    def _work(self, stop: threading.Event) -> None:
        try:
            while (index := self._begin(stop)) is not None:
                result = _classify(self._album[index], self._classifier, self._labels)
                if not self._keep:
                    result = result._replace(frame=None)
                with self._changed:
                    self._ready[index] = result
                    # Half of the room at a time: waking the delivering thread for each picture costs the workers more.
                    full = len(self._ready) * 2 >= self._ahead or self._begun == self._count or self._over
                    if full and self._delivered in self._ready:
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that delivers, which raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _begin(self, stop: threading.Event) -> int | None:
        """Return the next picture to work on once there is room for its result; None at the end."""
        with self._changed:
            while self._begun - self._delivered >= self._ahead and not self._over:
                self._changed.wait()
            if stop.is_set() and not self._over:
                self._over = True
                self._changed.notify_all()
            if self._over or self._begun == self._count:
                return None
            self._begun += 1
            return self._begun - 1


def _join(crew: Sequence[threading.Thread]) -> None:
    """Wait until the threads have ended, `FAREWELL` seconds in all; a signal is raised only then.

    Python ends a process in the middle of what daemons do, and a thread that it ends inside an engine aborts all of it.
    """
    until = time.monotonic() + FAREWELL
    interrupted: KeyboardInterrupt | None = None
    for thread in crew:
        while thread.is_alive() and (left := until - time.monotonic()) > 0:
            try:
                thread.join(left)
            except KeyboardInterrupt as error:  # noqa: PERF203 - one signal must not leave the others in work
                interrupted = error
    if interrupted is not None:
        raise interrupted


@contextlib.contextmanager
def _closing(source: Source, sinks: Sequence[Sink]) -> Iterator[None]:
    """Close everything at the end, also after an error; the first error is the one that is raised."""
    first: BaseException | None = None
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - raised below, once everything is closed
        first = error
    for close in (source.close, *(sink.close for sink in sinks)):
        try:
            close()
        except (KDLightError, OSError) as error:  # noqa: PERF203 - one that fails must not keep the rest open
            first = first or error
    if first is not None:
        raise first
