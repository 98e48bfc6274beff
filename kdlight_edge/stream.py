"""From a source to the sinks: every picture of a folder in order on all cores, the newest frame of a camera at once."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction, failed
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
    ends = [results.close, source.close, *(sink.close for sink in sinks)]
    errors: list[BaseException] = []
    try:
        try:
            for prediction, frame, truth in results:
                for sink in sinks:
                    sink.write(prediction, frame)
                tally.add(prediction, truth)
                if progress is not None:
                    failures = tally.decisions["error"]
                    progress.update(1, failed=failures) if failures else progress.update(1)
        except BaseException as error:  # noqa: BLE001 - raised below, once everything is closed
            errors.append(error)
        elapsed = time.perf_counter() - started
        _close(ends, errors)
    finally:
        _close(ends, errors)  # what is left, where a signal came before the first could begin
    if errors:
        raise next((error for error in errors if isinstance(error, KeyboardInterrupt)), errors[0])
    return tally.summary(elapsed)


def _close(ends: list[Callable[[], None]], errors: list[BaseException]) -> None:
    """Call each and take it off the list: one that fails, or is interrupted as it hangs, must not keep others open."""
    while ends:
        try:
            ends[0]()
        except BaseException as error:  # noqa: BLE001 - raised by the caller, once everything is closed
            errors.append(error)
        del ends[0]


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
    """Threads that each read and classify the next picture of an album, and the order in which results leave.

    The thread that delivers may be interrupted by a signal wherever it is. So it takes no lock, which it could be torn
    from before it gives it back, and joins no thread, as Python takes one whose join was interrupted for ended. It
    calls queues only, which are whole whenever it is interrupted.
    """

    def __init__(
        self, album: Album, classifier: Classifier, labels: frozenset[str], *, limit: int, ahead: int, keep: bool
    ) -> None:
        self._album = album
        self._classifier = classifier
        self._labels = labels
        self._count = min(limit, len(album)) if limit else len(album)
        self._ahead = ahead
        self._keep = keep
        self._lock = threading.Lock()
        """Of the workers alone, over what they have begun and what is ready."""
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Holds one for each picture that may be begun."""
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Wakes the thread that delivers."""
        self._begun = 0
        self._delivered = 0
        self._ready: dict[int, Result] = {}
        self._error: BaseException | None = None
        self._over = False
        self._working: set[int] = set()
        """The workers that have not ended, by the numbers of their threads."""
        self._until: float | None = None
        """When those are given up that have not ended by then (monotonic)."""

    def results(self, threads: int, stop: threading.Event) -> Generator[Result, None, None]:
        """Yield the results in order; after ``stop`` those that were begun. No worker is in work afterwards."""
        try:
            for _ in range(self._ahead):
                self._room.put(None)
            for number in range(threads):
                threading.Thread(target=self._work, args=(stop,), name=f"worker {number}", daemon=True).start()
            while ready := self._next():
                yield from ready
        finally:
            self._over = True  # no signal comes before this, as nothing is called
            try:
                self._end(threads)
            finally:
                self._end(threads)  # for the signal that came before the first had begun to wait, or after it had

    def _next(self) -> list[Result]:
        """Wait for the results that are next in order; none at the end."""
        while self._delivered not in self._ready:
            if self._error is not None:
                raise self._error
            if self._delivered == self._count or (self._over and self._delivered == self._begun):
                return []
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=LOOK_UP)
        ready = []
        while (result := self._ready.pop(self._delivered, None)) is not None:
            ready.append(result)
            self._delivered += 1
            self._room.put(None)
        return ready

    def _end(self, threads: int) -> None:
        """Wait until the workers have ended, `FAREWELL` seconds in all; a signal is raised only then.

        Python ends a process in the middle of what daemons do, and a thread that it ends inside an engine aborts all
        of it.
        """
        self._until = self._until or time.monotonic() + FAREWELL
        interrupted: KeyboardInterrupt | None = None
        for _ in range(threads):
            self._room.put(None)
        while self._working and (left := self._until - time.monotonic()) > 0:
            try:
                self._news.get(timeout=left)
            except queue.Empty:  # noqa: PERF203 - one signal must not leave the others in work
                break
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _work(self, stop: threading.Event) -> None:
        number = threading.get_ident()
        self._working.add(number)  # before it looks whether all is over: whoever waits sees it, or it does no work
        try:
            while (index := self._begin(stop)) is not None:
                result = _classify(self._album[index], self._classifier, self._labels)
                if not self._keep:
                    result = result._replace(frame=None)
                with self._lock:
                    self._ready[index] = result
                    # Half of the room at a time: waking the delivering thread for each picture costs the workers more.
                    full = len(self._ready) * 2 >= self._ahead or self._begun == self._count or self._over
                    if full and self._delivered in self._ready:
                        self._news.put(None)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that delivers, which raises it
            self._error = error
        finally:
            self._working.discard(number)
            self._news.put(None)

    def _begin(self, stop: threading.Event) -> int | None:
        """Return the next picture to work on once there is room for its result; None at the end."""
        self._room.get()
        with self._lock:
            if stop.is_set() and not self._over:
                self._over = True
                self._news.put(None)
            if self._over or self._begun == self._count:
                return None
            self._begun += 1
            return self._begun - 1
