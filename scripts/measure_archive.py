#!/usr/bin/env python3
"""Measure an archive on one and on two classifiers of a local Ray cluster; write docs/results/archive.json.

usage: scripts/measure_archive.py [--model NAME.kdl] [--files N] [--times N]

The archive is 1-megapixel JPEGs drawn by kdlight_edge.surface, several names each. Runs alternate, and the same files
are classified by `infer --folder` on as many threads for comparison. The rate is from the first answers to the last:
what beginning a cluster takes is told apart.
"""

import argparse
import contextlib
import functools
import json
import os
import statistics
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2

from kdlight_devices.fingerprint import PACKAGES, describe, fingerprint, versions
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cluster import pool
from kdlight_edge.cluster.job import Job, packed
from kdlight_edge.cluster.member import lost
from kdlight_edge.cluster.parts import Parts
from kdlight_edge.cluster.shelf import Shelf
from kdlight_edge.sources.folder import Folder
from kdlight_edge.stream import run as stream
from kdlight_edge.surface import render

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "archive.json"
DRAWN, SIDE = 8, (1152, 896)


def main() -> int:
    """Draw, measure and write."""
    parser = argparse.ArgumentParser(description="Measure an archive; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "surface-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--files", type=int, default=2400, metavar="N")
    parser.add_argument("--times", type=int, default=3, metavar="N")
    args = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own 15 would let whatever else runs come first
    with tempfile.TemporaryDirectory(prefix="kdlight-archive-") as folder:
        archive = Path(folder, "archive")
        draw(archive, args.files)
        rounds: list[dict[str, Any]] = []
        for number in range(args.times):
            for workers in (1, 2):
                rounds.append(cluster(args.model, archive, Path(folder, f"out-{number}-{workers}"), workers))
                rounds[-1]["alone"] = alone(args.model, archive, workers, args.files // 3)
                print(rounds[-1], flush=True)
            write(rounds, args.files)
    return 0


def write(rounds: list[dict[str, Any]], files: int) -> None:
    """Write what is measured so far."""
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "scripts/measure_archive.py",
        "machine": describe(fingerprint()),
        "versions": versions((*PACKAGES, "ray", "pyarrow")),
        "files": files,
        "pixels": SIDE[0] * SIDE[1],
        "rounds": rounds,
        **{name: median(rounds, name) for name in ("begin", "first", "rate", "alone")},
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def draw(archive: Path, files: int) -> None:
    """Write a few pictures, and names for them until there are enough."""
    archive.mkdir()
    for number in range(DRAWN):
        image = render("concrete", number, SIDE, crack_at=0.4 if number % 2 else None).image
        cv2.imwrite(str(archive / f"{number:06}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    for number in range(DRAWN, files):
        (archive / f"{number:06}.jpg").hardlink_to(archive / f"{number % DRAWN:06}.jpg")


def cluster(model: Path, archive: Path, out: Path, workers: int) -> dict[str, Any]:
    """Answer the archive with so many classifiers; return seconds and files a second."""
    job = Job(str(archive), packed(open_bundle(model)), "auto", None, 1, bytes(32))
    keys, _ = Shelf(str(archive)).keys(scans=False)
    with open_classifier(model, threads=1) as classifier, contextlib.closing(Parts(out, {})) as parts:
        began = time.monotonic()
        with pool.joined("local", workers):
            joined, seen = time.monotonic(), list[tuple[float, int]]()
            for table in pool.answers(job, keys, workers, functools.partial(lost, classifier=classifier)):
                parts.add(table)
                seen.append((time.monotonic(), table.num_rows))
            parts.flush()
    answered = sum(count for _, count in seen)
    if answered != len(keys):
        raise SystemExit(f"{answered} of {len(keys)} files were answered")
    rate = (answered - seen[0][1]) / (seen[-1][0] - seen[0][0])
    return {
        "workers": workers, "begin": round(joined - began, 2), "first": round(seen[0][0] - joined, 2),
        "rate": round(rate, 1),
    }  # fmt: skip


def alone(model: Path, archive: Path, workers: int, limit: int) -> float:
    """Return files a second of `infer --folder` with so many threads, over some of them."""
    with open_classifier(model, threads=1) as classifier:
        return round(stream(Folder(archive), classifier, [], workers=workers, limit=limit).images_per_second, 1)


def median(rounds: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Return the median by number of classifiers."""
    return {
        str(workers): round(statistics.median(one[name] for one in rounds if one["workers"] == workers), 2)
        for workers in (1, 2)
    }


if __name__ == "__main__":
    raise SystemExit(main())
