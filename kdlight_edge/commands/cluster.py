"""Flags of ``infer`` for an archive that one machine cannot finish, and the run that hands it to a Ray cluster."""

import argparse
import contextlib
import functools
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.commands.given import given
from kdlight_edge.errors import SourceError, UsageError

if TYPE_CHECKING:
    from kdlight_edge.classifier import Classifier
    from kdlight_edge.cluster.job import Job
    from kdlight_edge.cluster.parts import Parts
    from kdlight_edge.cluster.shelf import Shelf

ALONE = (
    "camera", "source", "state", "json", "csv", "sheet", "save", "save_video", "explain", "quality", "vote", "frames",
    "max_age", "max_fps", "dicom_out", "dicom_to", "await_camera", "tiles", "json_file", "audit", "mqtt", "webhook",
    "event_dir", "event_hold", "metrics", "web", "retries", "stall_timeout", "freeze_timeout", "governor",
)  # fmt: skip
"""Flags that say nothing beside ``--cluster``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    group = parser.add_argument_group("archives of millions (docs/archive.md)")
    group.add_argument(
        "--cluster", metavar="ADDRESS", help="classify --folder on Ray: local, ray://HOST:10001, or HOST:6379"
    )
    group.add_argument("--out", metavar="DIR", help="Parquet files; what is answered there is not done again")


def check(args: argparse.Namespace) -> None:
    """Refuse flags that cannot be, or not together."""
    if args.cluster is None:
        if args.out is not None:
            raise UsageError("--out says nothing without --cluster")
        return
    if beside := given(args, ALONE):
        raise UsageError(f"{beside[0]} says nothing beside --cluster")
    if args.folder is None or args.out is None:
        raise UsageError("--cluster needs --folder, an archive, and --out, a folder for the answers")


def run(args: argparse.Namespace, model: str) -> int:
    """Answer what is not answered yet; 0 when all could be read, 1 when some could not, 130 when stopped."""
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.cluster.job import Job, packed
    from kdlight_edge.cluster.shelf import Shelf
    from kdlight_edge.decide import Settings
    from kdlight_edge.dicom.identity import RUN

    if args.identity_key is not None:
        RUN.use(Path(args.identity_key))
    shelf = Shelf(args.folder)
    with open_classifier(model, engine=args.engine, threads=1, settings=Settings(args.conf, args.topk)) as classifier:
        keys = _keys(shelf, classifier)
        job = Job(shelf.place, packed(classifier.bundle), args.engine, args.conf, args.topk, RUN.share())
        return _answer(args, keys, job, classifier)


def _keys(shelf: "Shelf", classifier: "Classifier") -> list[str]:
    from kdlight_edge.cluster.shelf import may_be_scan
    from kdlight_edge.sources import tell

    scans = classifier.bundle.manifest.scans is not None
    keys, others = shelf.keys(scans=scans)
    if not keys:
        raise SourceError(f"{shelf.uri} holds no pictures{' and no scans' if scans else ''}, nor do the folders in it")
    if others:
        tell(f"{others:,} files of {shelf.uri} are not what this bundle classifies, by their names; left out")
    if scans and any(map(may_be_scan, keys)):
        import kdlight_edge.dicom.scan  # noqa: F401 - a missing package is told before a cluster is begun
    return keys


def _answer(args: argparse.Namespace, keys: list[str], job: "Job", classifier: "Classifier") -> int:
    from kdlight_edge.cluster.parts import Parts

    manifest = classifier.bundle.manifest
    bundle = f"{manifest.name} {manifest.version} {manifest.digest[:16]}"
    origin = {"bundle": bundle, "folder": job.folder, "conf": job.conf, "topk": job.topk}
    with contextlib.closing(Parts(Path(args.out), origin)) as parts:
        before = len(parts.held.keys)
        waiting = [key for key in keys if key not in parts.held.keys]
        decisions = Counter(parts.held.decisions)
        run = _Run(len(waiting), decisions)
        if waiting:
            _classify(args, waiting, job, classifier, parts, run)
        _tell(run, before, parts)
        if run.done < len(waiting):
            return 130
    return 1 if decisions["error"] else 0


@dataclass(slots=True)
class _Run:
    """How far it is."""

    total: int
    decisions: Counter[str]
    """Of all rows that are held, those of earlier runs included."""
    done: int = 0
    """Files."""
    seconds: float = 0.0


def _classify(
    args: argparse.Namespace, keys: list[str], job: "Job", classifier: "Classifier", parts: "Parts", run: _Run
) -> None:
    from kdlight_edge.cluster import pool
    from kdlight_edge.cluster.member import lost
    from kdlight_edge.progress import Progress
    from kdlight_edge.signals import stopped_by_signals
    from kdlight_edge.sources import tell

    bar = Progress(len(keys), "files")
    # Ray takes the signals for itself when it is begun: ours are set after it.
    with pool.joined(args.cluster, args.threads) as workers, stopped_by_signals() as stop:
        tell(f"{len(keys):,} files for {workers} classifiers")
        started = time.monotonic()
        try:
            for table in pool.answers(job, keys, workers, functools.partial(lost, classifier=classifier)):
                parts.add(table)
                files = len(set(table.column("key").to_pylist()))
                run.done += files
                run.decisions.update(table.column("decision").to_pylist())
                bar.update(files)
                if stop.is_set():
                    break
        finally:
            run.seconds = time.monotonic() - started
            bar.close()
            parts.flush()


def _tell(run: _Run, before: int, parts: "Parts") -> None:
    speed = f" in {run.seconds:.1f} s ({run.done / run.seconds:,.0f}/s)" if run.seconds else ""
    said = [f"{run.done:,} files{speed}"]
    if before:
        said.append(f"{before:,} were answered before")
    if run.done < run.total:
        said.append(f"stopped, {run.total - run.done:,} are left: run again, it goes on")
    counts = ", ".join(f"{count:,} {decision}" for decision, count in sorted(run.decisions.items()))
    print(f"{'; '.join(said)}. {parts.folder} holds {counts or 'nothing'}", file=sys.stderr)
