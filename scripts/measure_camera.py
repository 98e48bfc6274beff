#!/usr/bin/env python3
"""Measure a camera at 30 frames a second: age, CPU and the runtime's own cost; writes docs/results/camera.json.

usage: scripts/measure_camera.py [--seconds S] [--model NAME.kdl] [--out FILE.json]

The camera is a real ffmpeg that sends 640x480 MJPEG over HTTP; its pictures were encoded before, so that it takes no
more of this machine than a camera somewhere else would. Results go to a file through a queue, as `infer --json` writes
them. All figures are CPU time by the clocks of the threads, between the 60th frame and the last: decoding and the
network where they are called, in the thread that calls; the rest of that thread and of the one that receives; and what
is left of the whole process. The last rows are the same pictures back to back, on a processor that does not sleep.
"""

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from records import typed, write_record

from kdlight_edge import classifier as classifying
from kdlight_edge import picture, prepare
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.jsonl import JsonLines
from kdlight_edge.sinks.lines import open_lines
from kdlight_edge.sinks.queues import Queues
from kdlight_edge.sources import Patience, latest, open_source
from kdlight_edge.stream import run
from kdlight_edge.tally import Summary

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "camera.json"
FPS, SIZE = 30, "640x480"
WARM_FRAMES = 60
CLIP_SECONDS = 10
BACK_TO_BACK = 600


class Clock:
    """Adds up the CPU time that a function takes in whichever thread it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run it."""
        began = time.thread_time()
        try:
            return self._function(*args, **keywords)
        finally:
            self.seconds += time.thread_time() - began


class Marks:
    """A sink that notes what had been spent when the warm-up ended and when the last frame was answered."""

    wants_frames = False

    def __init__(self, last: int, clocks: dict[str, Clock]) -> None:
        self._last, self._clocks = last, clocks
        self.frames = 0
        self.marks: list[dict[str, float]] = []

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Count."""
        del prediction, frame
        self.frames += 1
        if self.frames in {WARM_FRAMES, self._last}:
            self.marks.append(self._now())

    def _now(self) -> dict[str, float]:
        """Return seconds: wall, CPU of the process and of its threads by their first word, and each clock."""
        found = {"wall": time.perf_counter(), "process": time.process_time()}
        for thread in threading.enumerate():
            if thread.ident is not None:
                name = thread.name.split()[0]
                seconds = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
                found[name] = found.get(name, 0.0) + seconds
        return found | {name: clock.seconds for name, clock in self._clocks.items()}

    def close(self) -> None:
        """Nothing is held back."""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure a camera at 30 frames/s; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--seconds", type=int, default=60, metavar="S")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; apt-get install ffmpeg brings it")
    with tempfile.TemporaryDirectory() as folder, open_classifier(args.model, threads=1) as classifier:
        clip = Path(folder, "clip.avi")
        pictures = encoded(clip)
        with camera_of(clip) as uri:
            rows = measured(uri, classifier, args.seconds * FPS, Path(folder))
        rows += back_to_back(classifier, pictures)
    write_record(
        args.out,
        typed(),
        camera=f"{SIZE} MJPEG, 4:2:0, at {FPS} frames/s over HTTP",
        rows=rows,
    )
    print(json.dumps(rows, indent=1))
    return 0


def encoded(clip: Path) -> list[bytes]:
    """Write a clip of a moving test picture in MJPEG, and return its pictures."""
    scene = ["-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={FPS}:duration={CLIP_SECONDS}"]
    coded = ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "4", "-strict", "unofficial"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *scene, *coded, str(clip)], check=True)
    told = subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-i", str(clip), "-c", "copy", "-f", "image2pipe", "-"],
        check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    start = b"\xff\xd8\xff"
    return [start + rest for rest in told.stdout.split(start)[1:]]


@contextlib.contextmanager
def camera_of(clip: Path) -> Iterator[str]:
    """Send the clip again and again, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    command = ["ffmpeg", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
    with subprocess.Popen([*command, "-f", "mpjpeg", "-listen", "1", uri], stdin=subprocess.DEVNULL) as camera:
        try:
            yield uri
        finally:
            camera.kill()


def measured(uri: str, classifier: Classifier, frames: int, folder: Path) -> list[dict[str, str]]:
    """Run the camera and return what it cost, with the goal."""
    clocks = {
        "decode": Clock(picture.decode_reduced),
        "network": Clock(classifier.engine.run),
        "resize": Clock(prepare.prepare),
    }
    for module, name, clock in ((latest, "decode_reduced", "decode"), (classifying, "prepare", "resize")):
        setattr(module, name, clocks[clock])
    plain, classifier.engine.run = classifier.engine.run, clocks["network"]  # type: ignore[method-assign]
    marks, stop = Marks(frames, clocks), threading.Event()
    source = open_source(uri, Patience(first_wait=0.2, at_start=True), print)
    guard = threading.Timer(2 * frames / FPS + 30, stop.set)
    guard.daemon = True
    guard.start()
    lines = JsonLines(open_lines(folder / "lines.jsonl", at_once=True), classifier.origin)
    summary = run(source, classifier, [marks, Queues(stop, live=True).before("stdout", lines)], stop=stop, limit=frames)
    guard.cancel()
    classifier.engine.run = plain  # type: ignore[method-assign]
    begun, ended = marks.marks
    return rows_of(summary, {name: ended[name] - seconds for name, seconds in begun.items()}, frames - WARM_FRAMES)


def rows_of(summary: Summary, spent: dict[str, float], frames: int) -> list[dict[str, str]]:
    """Turn seconds into the table's rows."""
    each = {name: seconds / frames * 1000 for name, seconds in spent.items()}
    asking = each["MainThread"] - each["decode"] - each["network"] - each["resize"]
    others = each["process"] - each["MainThread"] - each["capture"] - each["outbox"]
    besides = (spent["process"] - spent["decode"]) / spent["wall"]
    own = each["process"] - each["decode"] - each["network"]
    age = summary.age_ms
    table = [
        ("frames answered after the warm-up", f"{frames:,} at {frames / spent['wall']:.1f} a second", ""),
        ("frames dropped", f"{summary.dropped:,}", ""),
        ("age of a result, median", f"{age['p50']:.1f} ms", ""),
        ("age of a result, p99", f"{age['p99']:.1f} ms" if "p99" in age else "too few frames", "under 50 ms"),
        (
            "CPU besides decoding, of one core",
            f"{besides:.1%}",
            "under 15 %",
        ),
        ("decoding", _each(each["decode"]), ""),
        ("network", _each(each["network"]), ""),
        ("everything else", _each(own), "under 0.3 ms"),
        ("of it the resize", _each(each["resize"]), ""),
        ("of it the rest of the thread that decodes, resizes and asks the network", _each(asking), ""),
        ("of it the thread that receives", _each(each["capture"]), ""),
        ("of it the thread that writes the lines", _each(each["outbox"]), ""),
        ("of it other threads", _each(others), ""),
    ]
    return [{"what": what, "value": value, "goal": goal} for what, value, goal in table]


def back_to_back(classifier: Classifier, pictures: list[bytes]) -> list[dict[str, str]]:
    """Do the same to the same pictures without a pause, and return what each part costs then."""
    decode, resize, ask = Clock(picture.decode_reduced), Clock(prepare.prepare), Clock(classifier.engine.run)
    room = picture.Room()
    for count in range(BACK_TO_BACK):
        image, full = decode(pictures[count % len(pictures)], None, room)
        ask(resize(image, classifier.bundle.manifest, full)[np.newaxis])
    table = [("decoding", decode), ("network", ask), ("the resize", resize)]
    return [
        {"what": f"without pauses: {what}", "value": _each(clock.seconds / BACK_TO_BACK * 1000), "goal": ""}
        for what, clock in table
    ]


def _each(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms a frame"


if __name__ == "__main__":
    raise SystemExit(main())
