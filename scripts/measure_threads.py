#!/usr/bin/env python3
"""Ask OpenVINO's engine from two threads, and thirty times a second: what each way costs; docs/results/threads.json.

usage: scripts/measure_threads.py [--model NAME.kdl] [--rounds N]

Rates are of two threads that ask as fast as they are answered, CPU is that of the whole process where no thread is
named. The two ways take turns.
"""

import argparse
import functools
import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from records import typed, write_record

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.engines.openvino import compile_for, load, settings_of
from kdlight_edge.errors import UsageError
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Artifact

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "threads.json"
PICTURES, SLEEPS, FPS = 3000, 90, 30
Ask = Callable[[], object]


def main() -> int:
    """Measure in turn and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    args = parser.parse_args()
    bundle = open_bundle(args.model)
    artifact = next((found for found in bundle.manifest.artifacts if found.format == "openvino"), None)
    if artifact is None:
        raise UsageError(f"{args.model} holds nothing for OpenVINO; name another bundle")
    ways = own(bundle, artifact), shared(bundle, artifact)
    found: tuple[list[tuple[float, ...]], ...] = ([], [])
    for _ in range(args.rounds):
        for asks, rounds in zip(ways, found, strict=True):
            rounds.append((*at_once(asks), *paced(asks[0])))
    ours, other = ([statistics.median(column) for column in zip(*rounds, strict=True)] for rounds in found)
    record = write_record(
        RESULTS,
        typed(),
        peer="one network for two pictures at a time",
        rows=[
            {"what": what, "ours": form.format(mine), "peer": form.format(its), "ratio": f"{ratio:.2f} times {better}"}
            for what, form, mine, its, ratio, better in (
                ("two threads, pictures a second", "{:,.0f}", ours[0], other[0], ours[0] / other[0], "the rate"),
                ("two threads, CPU a picture", "{:.2f} ms", ours[1], other[1], ours[1] / other[1], "the CPU"),
                (f"{FPS} times a second, CPU", "{:.2f} ms", ours[2], other[2], ours[2] / other[2], "the CPU"),
                ("of it the thread that asks", "{:.2f} ms", ours[3], other[3], ours[3] / other[3], "the CPU"),
            )
        ],
    )
    print(json.dumps(record["rows"], indent=1))
    return 0


def shared(bundle: Bundle, artifact: Artifact) -> list[Ask]:
    """Return what asks one network that was compiled for two pictures at a time."""
    compiled: Any = compile_for(bundle, artifact, {**settings_of(1), "NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2})
    asks: list[Ask] = []
    for _ in range(2):
        request: Any = compiled.create_infer_request()
        request.get_tensor("image").data[0] = picture_of(bundle)
        asks.append(functools.partial(request.infer, share_inputs=True, share_outputs=True))
    return asks


def own(bundle: Bundle, artifact: Artifact) -> list[Ask]:
    """Return what asks the engine as it is."""
    engine, batch = load(bundle, artifact, threads=1), picture_of(bundle)[np.newaxis]
    return [lambda: engine.run(batch)] * 2


def picture_of(bundle: Bundle) -> Any:
    """Return a picture of the network's size."""
    spec = bundle.manifest.input
    return np.resize(golden_picture(1), (spec.height, spec.width, 3))


def at_once(asks: list[Ask]) -> tuple[float, float]:
    """Ask from a thread each; return answers a second, and milliseconds of CPU for each."""

    def work(ask: Ask) -> None:
        for _ in range(PICTURES):
            ask()

    threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
    cpu, wall = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = PICTURES * len(asks)
    return count / (time.perf_counter() - wall), (time.process_time() - cpu) / count * 1000


def paced(ask: Ask) -> tuple[float, float]:
    """Ask at a camera's pace; return milliseconds of CPU for each answer: of the process, and of this thread."""
    process, mine = time.process_time(), time.thread_time()
    for _ in range(SLEEPS):
        time.sleep(1 / FPS)
        ask()
    return (time.process_time() - process) / SLEEPS * 1000, (time.thread_time() - mine) / SLEEPS * 1000


if __name__ == "__main__":
    raise SystemExit(main())
