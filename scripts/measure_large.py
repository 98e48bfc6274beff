#!/usr/bin/env python3
"""Measure a folder of 12-megapixel JPEGs beside a plain loop of cv2.imread and resize; writes docs/results/large.json.

usage: scripts/measure_large.py [--pictures N] [--rounds N] [--model NAME.kdl]

Both run on the same two cores, in turn, on the same files from the page cache, with the same network and engine. The
plain loop is what one writes first: read, convert, resize by area, classify; OpenCV may use its own threads. Ours is
`stream.run`, as `infer --folder` calls it. Starting up counts for neither.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from records import typed, write_record

from kdlight_devices.fingerprint import describe, fingerprint
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.scenarios import encoded_pictures
from kdlight_edge.sources.folder import Folder
from kdlight_edge.stream import run

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "large.json"
WIDTH, HEIGHT = 4000, 3000


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure 12-megapixel JPEGs; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--pictures", type=int, default=24, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder, open_classifier(args.model, threads=1) as classifier:
        made = encoded_pictures(WIDTH, HEIGHT, 4)
        for index in range(args.pictures):
            Path(folder, f"{index:04}.jpg").write_bytes(made[index % len(made)])
        for turn in range(args.rounds + 1):
            found = {"ours": ours(classifier, folder), "plain": plain(classifier, folder)}
            if turn:  # the first warms the page cache
                for name, rate in found.items():
                    rates[name].append(rate)
    mine, theirs = (statistics.median(rates[name]) for name in ("ours", "plain"))
    rows = [
        {"what": "kdlight-edge infer --folder", "value": f"{mine:.1f} images/s", "goal": ""},
        {"what": "cv2.imread, resize, the same network", "value": f"{theirs:.1f} images/s", "goal": ""},
        {"what": "ratio", "value": f"{mine / theirs:.1f} times", "goal": "3 times"},
    ]
    write_record(
        RESULTS,
        typed(),
        machine=describe({**fingerprint(), "cores": 2}),
        rates=rates,
        rows=rows,
    )
    print(json.dumps(rows, indent=1))
    return 0


def ours(classifier: Classifier, folder: str) -> float:
    """Return images a second."""
    return run(Folder(folder), classifier, []).images_per_second


def plain(classifier: Classifier, folder: str) -> float:
    """Return images a second."""
    spec, files = classifier.bundle.manifest.input, sorted(Path(folder).iterdir())
    started = time.perf_counter()
    for file in files:
        image: Any = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        small: Any = cv2.resize(image, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
        classifier.engine.run(np.ascontiguousarray(small)[np.newaxis])
    return len(files) / (time.perf_counter() - started)


if __name__ == "__main__":
    raise SystemExit(main())
