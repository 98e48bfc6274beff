#!/usr/bin/env python3
"""Judge and time every file of every bundle on a processor without VNNI; writes docs/results/without_vnni.json.

usage: scripts/measure_processor.py --data DIR [--rounds N]

The bundles were calibrated and judged on a processor with VNNI, whose 8-bit products are added in 32 bits. Without it
two of them are added in 16 bits first, and weights that do not allow for that overflow there: labels change, and nobody
is told. So all test pictures are answered by each file here; the accuracy of the preferred one stands beside that
recorded in docs/results/models.json. Times are of the network alone, one thread, the files of a bundle in turn.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure_models import NANO, TESTS
from records import typed, write_record

from kdlight_devices.detect import cpu_fields
from kdlight_devices.fingerprint import fingerprint
from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import ENGINES, Engine, load
from kdlight_edge.evaluation import Answers
from kdlight_edge.golden import golden_picture
from kdlight_edge.labelled import Labelled, labels_of
from kdlight_edge.stream import run

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "docs" / "results" / "models.json"
RESULTS = ROOT / "docs" / "results" / "without_vnni.json"
RUNS = 200


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="turns of the times (default 9)")
    args = parser.parse_args()
    board = fingerprint()["board"]
    if board != "x86":
        raise SystemExit(f"this processor is that of board {board}; the question is of x86 without VNNI")
    recorded = {one["name"]: one["eval"] for one in json.loads(RECORDED.read_text(encoding="utf-8"))["models"]}
    rows = [measured(name, args.data.resolve(), args.rounds, recorded[name]) for name in TESTS | NANO]
    write_record(RESULTS, typed(), processor=processor(), rows=rows)
    print(RESULTS)
    return 0


def processor() -> str:
    """Return which of the instructions in question this processor has, by the flags that Linux reports."""
    flags = set(cpu_fields(Path("/")).get("flags", "").split())
    kinds = {"AVX2": {"avx2"}, "AVX-512": {"avx512f"}, "VNNI": {"avx512_vnni", "avx_vnni"}}
    there = [kind for kind, names in kinds.items() if flags & names]
    lacking = [kind for kind in kinds if kind not in there]
    return f"x86-64 with {' and '.join(there)}, without {' and '.join(lacking)}"


def measured(name: str, data: Path, rounds: int, recorded: dict[str, Any]) -> dict[str, Any]:
    """Return what one bundle's files answer, and how fast."""
    bundle, sets = open_bundle(ROOT / "models" / f"{name}.kdl"), [data / folder for folder in (TESTS | NANO)[name]]
    album = Labelled(labels_of(sets, [label.id for label in bundle.manifest.labels], {}))
    truth = [album.truth(index) for index in range(len(album))]
    with contextlib.ExitStack() as stack:
        engines = dict(opened(bundle, stack))
        answers = {file: answered(bundle, engine, album) for file, engine in engines.items()}
        times = timed(bundle, engines, rounds)
    files = [
        {
            "file": file, "engine": engine.name, "precision": engine.artifact.precision,
            "accuracy": alike(answers[file], truth), "as_fp32": alike(answers[file], answers["student.onnx"]),
            "p50_ms": times[file],
        }
        for file, engine in engines.items()
    ]  # fmt: skip
    preferred = {"engine": recorded["engine"], "precision": recorded["precision"], "accuracy": recorded["accuracy"]}
    print(f"{name}: {json.dumps(files)}", file=sys.stderr)
    return {"name": name, "n": len(album), "recorded": preferred, "files": files}


def alike(some: list[str], others: list[str]) -> float:
    """Return the share of places at which two lists agree."""
    return float(np.mean([one == other for one, other in zip(some, others, strict=True)]))


def opened(bundle: Bundle, stack: contextlib.ExitStack) -> Iterator[tuple[str, Engine]]:
    """Give each file with the engine that runs it here."""
    for artifact in bundle.manifest.artifacts:
        for engine, (_, kind) in ENGINES.items():
            if kind == artifact.format and engine != "tensorrt":
                opened_engine = load(bundle, artifact, engine=engine, threads=1)
                stack.enter_context(opened_engine)
                yield artifact.file, opened_engine


def answered(bundle: Bundle, engine: Engine, album: Labelled) -> list[str]:
    """Return the label of every picture, after the golden pictures have been answered as they were at the export."""
    classifier = Classifier(bundle, engine, Settings())
    classifier.verify()
    answers = Answers(classifier, album, None)
    run(album, classifier, [answers])
    return [str(prediction.label) for prediction in answers.predictions]


def timed(bundle: Bundle, engines: dict[str, Engine], rounds: int) -> dict[str, float]:
    """Return the milliseconds of one picture, the median of the rounds' medians."""
    side = bundle.manifest.input.width
    picture: Any = np.resize(golden_picture(3), (1, side, side, 3))
    found: dict[str, list[float]] = {file: [] for file in engines}
    for _ in range(rounds):
        for file, engine in engines.items():
            times = []
            for _ in range(RUNS):
                began = time.perf_counter()
                engine.run(picture)
                times.append(time.perf_counter() - began)
            found[file].append(statistics.median(times) * 1000)
    return {file: statistics.median(medians) for file, medians in found.items()}


if __name__ == "__main__":
    raise SystemExit(main())
