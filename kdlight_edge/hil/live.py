"""Scenarios with a camera: faults that are injected (C) and the long run (E), both through the code that serves."""

import json
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kdlight_edge import stream
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame
from kdlight_edge.hil.replay import Fault, pack
from kdlight_edge.meter import summary
from kdlight_edge.sources import Patience, open_source
from kdlight_edge.sources.latest import Latest

FPS = 30.0

PATIENCE = Patience(stall_timeout=2.0, first_wait=0.25, longest_wait=1.0, freeze_timeout=3.0)
"""Shorter than the program's own, so that a minute holds several faults; told beside the result."""

ON_ITS_WAY = 0.1
"""Seconds around a fault in which a frame belongs to neither side."""

POINTS = 240
"""Of a series of ages in a record at most."""


def faults_of(seconds: float) -> tuple[Fault, ...]:
    """Return what happens to the camera in a run: unplugged at 25 %, frozen at 50 %, unplugged at 80 %."""
    short = min(5.0, seconds / 10)
    return (
        Fault("unplug", seconds * 0.25, short),
        Fault("freeze", seconds * 0.5, min(8.0, seconds / 6)),
        Fault("unplug", seconds * 0.8, short / 2),
    )


class Ages:
    """A sink that keeps when each frame was captured and how old its result was."""

    wants_frames = False

    def __init__(self) -> None:
        self.captured, self.age_ms = array("d"), array("d")
        self.dropped = 0

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take one result; a frame without an answer has no age."""
        del frame
        self.dropped += prediction.dropped
        if prediction.label is not None:
            self.captured.append(prediction.captured.monotonic)
            self.age_ms.append(prediction.age * 1000)

    def close(self) -> None:
        """Nothing to let go of."""


def watch_camera(
    classifier: Classifier, pictures: Sequence[bytes], seconds: float, faults: Sequence[Fault], fps: float = FPS
) -> dict[str, Any]:
    """Classify a camera that replays encoded pictures, two or more, and fails meanwhile.

    Returns:
        ``fps``, ``seconds``, ``sent``, ``results``, ``errors``, ``dropped``, ``dropped_share``, ``repeated``,
        ``reconnects``, ``images_per_second``, ``age_ms`` (see `summary`), ``first_p99_ms`` and ``last_p99_ms`` (of the
        first and the last third), ``faults`` (each with ``back_s``, from its end to the first new result, and
        ``answered``, results of frames captured while it lasted), ``patience``, ``series`` (second, median and
        largest age of a slice).

    Raises:
        SourceError: the replayed camera ended by itself.
    """
    stop = threading.Event()
    ages, told = Ages(), list[dict[str, Any]]()
    with _replayed(pictures, fps, seconds, faults) as (port, lines):
        source = open_source(f"http://127.0.0.1:{port}/replay.mjpg", PATIENCE)

        def listen() -> None:
            told.extend(json.loads(line) for line in lines)
            stop.set()  # the camera has said its last word

        listener = threading.Thread(target=listen, name="replay", daemon=True)
        listener.start()
        found = stream.run(source, classifier, [ages], stop=stop)
        listener.join()
    if not told or "sent" not in told[-1]:
        raise SourceError("the replayed camera ended before its time; run the scenario again")
    if not ages.age_ms:
        raise SourceError("the replayed camera gave no frame that could be answered; run the scenario again")
    third = len(ages.age_ms) // 3
    return {
        "fps": fps,
        "seconds": seconds,
        "sent": told[-1]["sent"],
        "results": len(ages.age_ms),
        "errors": found.errors,
        "dropped": ages.dropped,
        "dropped_share": ages.dropped / max(1, told[-1]["sent"]),
        "repeated": source.repeated if isinstance(source, Latest) else 0,
        "reconnects": source.reconnects if isinstance(source, Latest) else 0,
        "images_per_second": found.images_per_second,
        "age_ms": summary(ages.age_ms),
        "first_p99_ms": summary(ages.age_ms[: third or 1])["p99"],
        "last_p99_ms": summary(ages.age_ms[-third:])["p99"],
        "faults": [_fault(one, ages) for one in told if "fault" in one],
        "patience": {"stall_s": PATIENCE.stall_timeout, "freeze_s": PATIENCE.freeze_timeout},
        "series": series(ages.captured, ages.age_ms),
    }


def _fault(told: dict[str, Any], ages: Ages) -> dict[str, Any]:
    """Judge what the results did during one fault: a picture that was on its way when it began is no answer to it."""
    begin, end = told["begin"], told["end"]
    after = next((captured for captured in ages.captured if captured >= end), None)
    return {
        "kind": told["fault"],
        "at": round(begin - ages.captured[0], 2),
        "seconds": round(end - begin, 2),
        "answered": sum(begin + ON_ITS_WAY < captured < end - ON_ITS_WAY for captured in ages.captured),
        "back_s": None if after is None else round(after - end, 3),
    }


def series(stamps: Sequence[float], values: Sequence[float]) -> list[list[float]]:
    """Thin (second, value) out to slices: [second, median, largest], so that no pause disappears from a plot."""
    step = -(-len(values) // POINTS)
    slices = (sorted(values[i : i + step]) for i in range(0, len(values), step))
    return [
        [round(stamps[number * step] - stamps[0], 2), round(part[len(part) // 2], 3), round(part[-1], 3)]
        for number, part in enumerate(slices)
    ]


@contextmanager
def _replayed(
    pictures: Sequence[bytes], fps: float, seconds: float, faults: Sequence[Fault]
) -> Iterator[tuple[int, Iterable[bytes]]]:
    """Start the camera in a process of its own; yield its port and what it says."""
    texts = [f"{fault.kind}@{fault.begin:g}:{fault.seconds:g}" for fault in faults]
    command = [sys.executable, "-m", "kdlight_edge.hil.replay", f"{fps:g}", f"{seconds:g}", *texts]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as camera:  # noqa: S603 - our own
        try:
            if camera.stdin is None or camera.stdout is None:
                raise SourceError("the replayed camera has no pipes")
            camera.stdin.write(pack(pictures))
            camera.stdin.close()
            first = camera.stdout.readline()
            if not first:
                raise SourceError("the replayed camera does not start; run the scenario again")
            yield json.loads(first)["port"], camera.stdout
        finally:
            camera.terminate()
