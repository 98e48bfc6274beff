"""``kdlight-edge bench``: measure a bundle's speed, memory and size on this machine, and against a board's budget."""

import argparse
import dataclasses
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from kdlight_edge.commands.named import named_board
from kdlight_edge.commands.threads import check_threads
from kdlight_edge.errors import BudgetExceeded, UsageError

if TYPE_CHECKING:
    from kdlight_devices.board import Board, Budget
    from kdlight_edge.bundle import Bundle
    from kdlight_edge.manifest import Manifest
    from kdlight_edge.scenarios import Effort

SCHEMA = "kdlight-edge/bench/1"

SCENARIOS = ("a", "b", "c", "d", "e")
"""Keys of `kdlight_edge.hil.trial.NAMES`, which is imported with NumPy only."""

FOLDER_FILES = 256
"""Files of the folder whose run is weighed: enough for memory to have settled."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", metavar="NAME.kdl", help="the bundle")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="engine to measure (default: auto)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N",
        help="threads inside one run of the network; 0 is every core (default: 1, as infer)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="least time of each scenario (default 10)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a second each, 64 samples at least: less certain, and seldom a p99"
    )
    parser.add_argument("--board", metavar="NAME", help="compare with the budget of this board; auto detects it")
    parser.add_argument(
        "--scenario", choices=SCENARIOS,
        help="one scenario as scripts/bench_on_board.py asks for it, as JSON: a model only, b bytes to result, "
        "c camera with faults, d offline folder, e soak",
    )  # fmt: skip
    parser.add_argument("--data", metavar="DIR", nargs="+", default=[], help="with --scenario a: judge these pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        BudgetExceeded: slower or larger than the board of ``--board`` allows.
    """
    check_threads(args.threads)
    if not 0 < args.seconds <= 86_400:  # noqa: PLR2004 - a day
        raise UsageError(f"--seconds {args.seconds:g} is not between 0 and 86400")
    if args.scenario is not None:
        return _scenario(args)
    if args.data:
        raise UsageError("--data is judged with --scenario a; kdlight-edge eval judges it alone")
    board = _board(args.board)
    record = _measure(args)
    if board is not None and board.budget is not None:
        record["budget"] = _budget(board.name, board.budget, record)
    print(json.dumps(record, indent=1) if args.json else "\n".join(_lines(record)))
    missed = [row for row in record.get("budget", {"rows": []})["rows"] if not row["met"]]
    if missed:
        told = "; ".join(f"{row['what']} is {row['measured']:g}, allowed {row['allowed']:g}" for row in missed)
        raise BudgetExceeded(f"{record['bundle']['name']} misses the budget of {record['budget']['board']}: {told}")
    return 0


def _scenario(args: argparse.Namespace) -> int:
    """Run one scenario and print its record; budgets are held by whoever asked."""
    if args.board is not None:
        raise UsageError("--board and --scenario do not go together; scripts/bench_on_board.py compares")
    if args.data and args.scenario != "a":
        raise UsageError("--data is judged with --scenario a")
    from kdlight_edge.hil.trial import Plan, run

    effort = _effort(args)
    if args.scenario in {"c", "e"}:
        effort = dataclasses.replace(effort, seconds=args.seconds)  # a camera's faults take their time
    plan = Plan(args.model, args.engine, args.threads, effort, args.data, 3 if args.quick else 7)
    print(json.dumps({**run(args.scenario, plan), "command": _command()}, indent=1))
    return 0


def _command() -> str:
    return shlex.join(["kdlight-edge", *sys.argv[1:]])


def _board(name: str | None) -> "Board | None":
    from kdlight_devices.detect import detect

    if name is None:
        return None
    board = detect() if name == "auto" else named_board(name)
    if board.budget is None:
        raise UsageError(f"--board {board.name} is {board.text}, so there is no budget; name a board")
    return board


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run every scenario, one after the other, so that none takes another's core."""
    from kdlight_edge import fresh, scenarios
    from kdlight_edge.classifier import open_classifier

    effort = _effort(args)
    with open_classifier(args.model, engine=args.engine, threads=args.threads) as classifier:
        name = classifier.engine.name
        pictures = {f"{w}x{h}": scenarios.encoded_pictures(w, h, effort.pictures) for w, h in scenarios.SIZES}
        record = _head(args, classifier.bundle, name, classifier.engine.artifact.file)
        _tell("the network alone")
        record["model"] = scenarios.model_only(classifier, effort)
        _tell("bytes to result")
        record["bytes_to_result"] = {
            size: scenarios.bytes_to_result(classifier, files, effort) for size, files in pictures.items()
        }
    with open_classifier(args.model, engine=args.engine, threads=1) as classifier:
        _tell("all cores")
        record["throughput"] = {
            size: scenarios.throughput(classifier, files, effort) for size, files in pictures.items()
        }
    _tell("fresh processes")
    files = [*pictures.values()]
    repeats = 3 if args.quick else 7
    record["cold_start_ms"] = fresh.cold_start_ms(args.model, files[0][0], engine=name, repeats=repeats)
    both = [picture for pair in zip(*files, strict=True) for picture in pair]
    record["peak_rss_bytes"] = fresh.folder_peak_rss(args.model, both, engine=name, count=FOLDER_FILES)
    return record


def _effort(args: argparse.Namespace) -> "Effort":
    from kdlight_edge.scenarios import Effort

    if args.quick:
        return Effort(seconds=min(args.seconds, 1.0), samples=64, warm_limit=1.0, pictures=16)
    return Effort(seconds=args.seconds, samples=662, warm_limit=30.0, pictures=64)


def _head(args: argparse.Namespace, bundle: "Bundle", engine: str, file: str) -> dict[str, Any]:
    """Return what every figure needs beside it: the machine, the versions, the date, the command and the bundle."""
    import os
    from datetime import datetime, timezone

    from kdlight_devices.fingerprint import fingerprint, versions

    manifest: Manifest = bundle.manifest
    artifact = next(artifact for artifact in manifest.artifacts if artifact.file == file)
    return {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": _command(),
        "machine": fingerprint(),
        "versions": versions(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "bundle": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "bytes": bundle.bytes,
            "artifact_bytes": artifact.all_bytes,
            "student": manifest.student,
            "parameters": manifest.parameters,
            "macs": manifest.macs,
            "input": [manifest.input.width, manifest.input.height],
        },
        "engine": engine,
        "precision": artifact.precision,
        "threads": args.threads or len(os.sched_getaffinity(0)),
        "quick": args.quick,
    }


def _budget(board: str, budget: "Budget", record: dict[str, Any]) -> dict[str, Any]:
    size = record["bundle"]["input"]
    bounds = (
        ("network p50, ms", record["model"]["p50"], budget.p50_ms(*size)),
        ("network p99, ms", record["model"]["p99"], budget.p99_ms(*size)),
        ("bundle, bytes", record["bundle"]["bytes"], budget.bundle_bytes),
        ("peak memory, bytes", record["peak_rss_bytes"], budget.rss_bytes),
    )
    return {
        "board": board,
        "measured_on": record["machine"]["board"],
        "source": budget.source,
        "rows": [
            {"what": what, "measured": found, "allowed": allowed, "met": found <= allowed}
            for what, found, allowed in bounds
            if found is not None
        ],
        "unproved": [what for what, found, _ in bounds if found is None],  # --quick may take too few samples for a p99
    }


def _tell(what: str) -> None:
    """Say what is being measured, on a terminal."""
    if sys.stderr.isatty():
        print(f"kdlight-edge bench: {what} ...", file=sys.stderr)


def _lines(record: dict[str, Any]) -> list[str]:
    """Lay the figures out for people."""
    series = {"network alone": record["model"]}
    series |= {f"bytes to result, {size}": found for size, found in record["bytes_to_result"].items()}
    lines = [
        *_heading(record),
        f"  {'milliseconds':<28}{'n':>8}{'p50':>9}{'p90':>9}{'p99':>9}{'mean':>9}{'max':>9}{'cv':>8}",
        *(_series(name, found) for name, found in series.items()),
        *_totals(record),
    ]
    shaky = [name for name, found in series.items() if found["unstable"]]
    if shaky:
        lines.append(f"UNSTABLE (cv above 2.5 %): {'; '.join(shaky)}")
    return lines + _verdict(record.get("budget"))


def _heading(record: dict[str, Any]) -> list[str]:
    from kdlight_devices.fingerprint import describe

    bundle, engine = record["bundle"], record["engine"]
    width, height = bundle["input"]
    threads = f"{record['threads']} thread{'s' * (record['threads'] > 1)} a run"
    name = f"{bundle['name']} {bundle['version']} ({bundle['digest'][:16]}): {bundle['student']}, {width}x{height}"
    return [
        f"{name}, {bundle['parameters']:,} parameters, {bundle['macs'] / 1e6:.1f} M multiply-adds",
        f"{describe(record['machine'])}, {record['date']}",
        f"{engine} {record['versions'].get(engine, '')}, {record['precision']}, {threads}",
    ]


def _series(name: str, found: dict[str, Any]) -> str:
    times = "".join(
        f"{'-' if found[key] is None else format(found[key], '.3f'):>9}" for key in ("p50", "p90", "p99", "mean", "max")
    )
    return f"  {name:<28}{found['n']:>8}{times}{found['cv']:>8.1%}"


def _totals(record: dict[str, Any]) -> list[str]:
    rows = [("arithmetic at the median", f"{record['model']['gmacs_per_second']:.1f} GMAC/s")]
    for size, found in record["throughput"].items():
        workers = f"{found['workers']} worker{'s' * (found['workers'] > 1)}"
        spread = f"{found['min']:.0f} to {found['max']:.0f} in {len(found['runs'])} runs"
        rows.append((f"bytes to result, {size}", f"{found['images_per_second']:.0f} images/s, {workers} ({spread})"))
    cold = record["cold_start_ms"]
    spread = f"{cold['min']:.0f} to {cold['max']:.0f} in {cold['runs']} runs"
    rows.append(("cold start to first result", f"{cold['median']:.0f} ms ({spread})"))
    rows.append(("peak memory of a folder run", f"{record['peak_rss_bytes'] / 1e6:.1f} MB"))
    bundle = record["bundle"]
    rows.append(("files", f"{bundle['bytes'] / 1e6:.2f} MB, the network {bundle['artifact_bytes'] / 1e6:.2f} MB of it"))
    return [f"  {name:<28} {text}" for name, text in rows]


def _verdict(budget: dict[str, Any] | None) -> list[str]:
    if budget is None:
        return []
    elsewhere = "" if budget["measured_on"] == budget["board"] else f", but measured on {budget['measured_on']}"
    return [
        f"budget of {budget['board']}{elsewhere} ({budget['source']})",
        *(
            f"  {'met' if row['met'] else 'MISSED':<7}{row['what']:<30}{_number(row['measured']):>14}"
            f" of {_number(row['allowed']):>14}"
            for row in budget["rows"]
        ),
        *(f"  {'-':<7}{what:<30} not compared: the samples prove none" for what in budget["unproved"]),
    ]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
