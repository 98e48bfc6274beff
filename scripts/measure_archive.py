#!/usr/bin/env python3
"""Measure an archive on one and on two classifiers of a local Ray cluster; write docs/results/archive.json.

usage: scripts/measure_archive.py [--model NAME.kdl] [--files N] [--times N]

The archive is 1-megapixel JPEGs drawn by kdlight_edge.surface, several names each. Runs alternate, and the same files
are classified by `infer --folder` on as many threads for comparison. The rate is from the first answers to the last:
what beginning a cluster takes is told apart. The processor's time of the classifiers for each file does not depend on
what else runs: where two need no more of it than one, two cores do twice the work.
"""

import argparse
import contextlib
import functools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
from records import typed, write_record

from kdlight_devices.fingerprint import PACKAGES, versions
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
FIGURES = ("begin", "first", "rate", "cpu_ms", "alone", "alone_cpu_ms")
DRAWN, SIDE = 8, (1152, 896)


def main() -> int:
    """Draw, measure and write."""
    parser = argparse.ArgumentParser(description="Measure an archive; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
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
                rounds[-1] |= alone(args.model, archive, workers, args.files // 3)
                print(rounds[-1], flush=True)
            write(rounds, args.files)
    return 0


def write(rounds: list[dict[str, Any]], files: int) -> None:
    """Write what is measured so far."""
    write_record(
        RESULTS,
        typed(),
        versions=versions((*PACKAGES, "ray", "pyarrow")),
        files=files,
        pixels=SIDE[0] * SIDE[1],
        rounds=rounds,
        **{name: median(rounds, name) for name in FIGURES},
    )


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
            joined, seen = time.monotonic(), list[tuple[float, int, float]]()
            spent: dict[int, float] = {}
            for table in pool.answers(job, keys, workers, functools.partial(lost, classifier=classifier)):
                parts.add(table)
                spent.update(members())
                seen.append((time.monotonic(), table.num_rows, sum(spent.values())))
            parts.flush()
    answered = sum(count for _, count, _ in seen)
    if answered != len(keys):
        raise SystemExit(f"{answered} of {len(keys)} files were answered")
    counted = answered - seen[0][1]
    return {
        "workers": workers, "begin": round(joined - began, 2), "first": round(seen[0][0] - joined, 2),
        "rate": round(counted / (seen[-1][0] - seen[0][0]), 1),
        "cpu_ms": round((seen[-1][2] - seen[0][2]) * 1000 / counted, 3),
    }  # fmt: skip


def members() -> dict[int, float]:
    """Return the processor's seconds that the classifiers of this run have had, by process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(b"ray::MapWorker") and ours(process):
                fields = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                found[int(process.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def ours(process: Path) -> bool:
    """Tell whether a process descends from this one."""
    parent = int((process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    return parent == os.getpid() or (parent > 1 and ours(process.with_name(str(parent))))


def alone(model: Path, archive: Path, workers: int, limit: int) -> dict[str, float]:
    """Return what `infer --folder` does with so many threads, over some of the files."""
    with open_classifier(model, threads=1) as classifier:
        before = time.process_time()
        summary = stream(Folder(archive), classifier, [], workers=workers, limit=limit)
        spent = time.process_time() - before
    return {"alone": round(summary.images_per_second, 1), "alone_cpu_ms": round(spent * 1000 / limit, 3)}


def median(rounds: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Return the median by number of classifiers."""
    return {
        str(workers): round(statistics.median(one[name] for one in rounds if one["workers"] == workers), 2)
        for workers in (1, 2)
    }


if __name__ == "__main__":
    raise SystemExit(main())
