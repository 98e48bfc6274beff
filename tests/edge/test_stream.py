"""The stream: in order, bounded, stopped within a moment, and nothing decided is lost."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction, Settings
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.progress import Progress
from kdlight_edge.sources import open_source
from kdlight_edge.sources.folder import Folder
from kdlight_edge.stream import AHEAD, AHEAD_LIGHT, run
from tests.edge.fakes import FakeEngine, FakeSource
from tests.waiting import LIMIT, until

RED, GREEN = (np.full((20, 20, 3), colour, np.uint8) for colour in ((220, 0, 0), (0, 220, 0)))


class Collect:
    """A sink that remembers."""

    def __init__(self, *, wants_frames: bool = False, fail_at: int = -1) -> None:
        self.wants_frames = wants_frames
        self.got: list[tuple[Prediction, Frame | None]] = []
        self.closed = 0
        self._fail_at = fail_at

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Remember, or fail when told to."""
        if len(self.got) == self._fail_at:
            raise KDLightError("the disk is full")
        self.got.append((prediction, frame))

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Slow:
    """An album whose first picture takes until the others were begun."""

    live = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.begun: list[int] = []
        self.go_on = threading.Event()
        self.closed = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame | Unreadable:
        self.begun.append(index)
        if index == 0:
            self.go_on.wait(LIMIT)
        return Frame(RED, Moment.now(), "slow", index)

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        raise AssertionError("an album is read by index")

    def close(self) -> None:
        """Remember."""
        self.closed = True


def album(folder: Path, count: int) -> Folder:
    for i in range(count):
        name = folder / ("crack" if i % 2 else "no_crack") / f"{i:03}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(cv2.imencode(".png", (RED if i % 2 else GREEN)[..., ::-1])[1].tobytes())
    return Folder(folder)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_of_an_album_come_in_its_order_whatever_the_workers(
    tmp_path: Path, classifier: Classifier, workers: int
) -> None:
    sink = Collect()
    summary = run(album(tmp_path / "in", 40), classifier, [sink], workers=workers)
    assert [prediction.index for prediction, _ in sink.got] == list(range(40))
    assert {prediction.label for prediction, _ in sink.got} == {"crack", "no_crack"}
    assert (summary.frames, summary.accepted, summary.judged, summary.right) == (40, 40, 40, 40)
    assert summary.by_label == {"crack": 20, "no_crack": 20}
    assert {stage for got, _ in sink.got for stage in got.milliseconds or ()} == {"decode", "prepare", "infer"}
    assert sink.closed == 1


@pytest.mark.parametrize(("draws", "room"), [(True, 2 * AHEAD), (False, 2 * AHEAD_LIGHT)])
def test_no_more_pictures_are_begun_than_there_is_room_for(classifier: Classifier, *, draws: bool, room: int) -> None:
    source, sink = Slow(100), Collect(wants_frames=draws)
    thread = threading.Thread(target=lambda: run(source, classifier, [sink], workers=2))
    thread.start()
    until(lambda: len(source.begun) >= room)
    held = len(source.begun)
    source.go_on.set()
    thread.join(LIMIT)
    assert held == room
    assert len(sink.got) == 100


def test_frames_are_kept_only_for_a_sink_that_draws(tmp_path: Path, classifier: Classifier) -> None:
    plain, drawing = Collect(), Collect(wants_frames=True)
    run(album(tmp_path / "in", 3), classifier, [plain])
    assert all(frame is None for _, frame in plain.got)
    run(Folder(tmp_path / "in"), classifier, [drawing])
    assert all(frame is not None for _, frame in drawing.got)


def test_a_bad_picture_gets_its_own_result_and_the_run_goes_on(tmp_path: Path, classifier: Classifier) -> None:
    folder = album(tmp_path / "in", 5)
    (tmp_path / "in" / "crack" / "001.png").write_bytes(b"")
    sink = Collect()
    summary = run(folder, classifier, [sink])
    assert [prediction.decision for prediction, _ in sink.got].count("error") == 1
    assert (summary.frames, summary.errors, summary.accepted) == (5, 1, 4)


def test_a_limit_ends_an_album_and_a_stream(tmp_path: Path, classifier: Classifier) -> None:
    assert run(album(tmp_path / "in", 9), classifier, [], limit=4).frames == 4
    assert run(FakeSource([RED] * 9), classifier, [], limit=4).frames == 4


def test_the_fake_source_and_engine_run_too(tiny_bundle: Callable[..., Path]) -> None:
    classifier = Classifier(open_bundle(tiny_bundle()), FakeEngine(2), Settings())
    source, sink = FakeSource([RED, "torn", GREEN]), Collect()
    run(source, classifier, [sink])
    assert [prediction.label for prediction, _ in sink.got] == ["crack", None, "no_crack"]
    assert source.closed


def test_an_engine_that_is_not_concurrent_gets_one_worker(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    engine = FakeEngine(2)
    engine.concurrent = False
    threads: set[str] = set()
    answer = engine.run

    def watched(batch: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], *, cam: bool = False) -> object:
        threads.add(threading.current_thread().name)
        return answer(batch, cam=cam)

    engine.run = watched  # type: ignore[method-assign, assignment]
    run(album(tmp_path / "in", 20), Classifier(open_bundle(tiny_bundle()), engine, Settings()), [], workers=4)
    assert len(threads) == 1


def test_after_stop_what_was_begun_is_delivered_and_no_more(tmp_path: Path, classifier: Classifier) -> None:
    stop = threading.Event()

    class StopAtThird(Collect):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            super().write(prediction, frame)
            if len(self.got) == 3:
                stop.set()

    sink = StopAtThird()
    summary = run(album(tmp_path / "in", 200), classifier, [sink], stop=stop, workers=2)
    assert 3 <= summary.frames <= 3 + 3 * AHEAD_LIGHT  # at most the room twice over: delivered, and begun meanwhile
    assert [prediction.index for prediction, _ in sink.got] == list(range(summary.frames))
    assert sink.closed == 1


def test_stop_ends_a_live_source_that_gives_nothing(classifier: Classifier) -> None:
    stop = threading.Event()
    source = open_source("scene:crack?fps=0.001&size=32x32")

    class StopAtFirst(Collect):
        def write(self, prediction: Prediction, frame: Frame | None) -> None:
            super().write(prediction, frame)
            threading.Timer(0.05, stop.set).start()

    sink = StopAtFirst()
    assert run(source, classifier, [sink], stop=stop).frames == 1


def test_a_sink_that_fails_ends_the_run_and_the_others_are_closed(classifier: Classifier) -> None:
    good, bad = Collect(), Collect(fail_at=2)
    source = Slow(50)
    source.go_on.set()
    with pytest.raises(KDLightError, match="the disk is full"):
        run(source, classifier, [good, bad])
    assert len(good.got) == 3
    assert (good.closed, bad.closed) == (1, 1)
    assert source.closed


def test_an_error_in_a_worker_reaches_the_caller(classifier: Classifier) -> None:
    class Broken(Slow):
        def __getitem__(self, index: int) -> Frame | Unreadable:
            raise OSError(index)

    with pytest.raises(OSError, match=r"\d"):
        run(Broken(5), classifier, [])


def test_progress_is_told_of_every_picture(tmp_path: Path, classifier: Classifier) -> None:
    bar = Progress(6, "pictures", quiet=True)
    run(album(tmp_path / "in", 6), classifier, [], progress=bar)
    assert bar.done == 6
