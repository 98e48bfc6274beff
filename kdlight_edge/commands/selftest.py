"""``kdlight-edge selftest``: does everything work on this board, and does a run survive what a field gives it?"""

import argparse
import dataclasses
import json
import time
from typing import TYPE_CHECKING

from kdlight_edge.errors import SelfTestFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdlight_edge.selftest.outcome import Outcome

MARKS = {"ok": "+", "failed": "-", "skipped": "."}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = "Exit code: 0 everything that could be checked is well, 2 usage, 7 something is not."
    parser.add_argument("--model", metavar="NAME.kdl", help="the bundle (default: models/surface-crack.kdl)")
    parser.add_argument(
        "--faults",
        nargs="?",
        const="all",
        metavar="LIST",
        help="also inject faults into real runs: all (default), or some of unplug, freeze, slow, corrupt, black, "
        "resize, duplicate, broker, webhook, disk, clock, dicom, web, with commas",
    )
    parser.add_argument(
        "--duration", type=float, default=0.0, metavar="S", help="go round again until S seconds are over"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check, inject, and tell each outcome as it comes.

    Raises:
        SelfTestFailed: something is not well.
    """
    from kdlight_edge.selftest.faults import chosen
    from kdlight_edge.zoo import for_cracks

    if not args.duration >= 0:
        raise UsageError(f"--duration {args.duration:g} is not a time; give seconds")
    names = chosen(args.faults) if args.faults is not None else []
    model = args.model if args.model is not None else for_cracks()
    if model is None:
        raise UsageError("--model is missing, and there is no models/surface-crack.kdl here; give a bundle")
    outcomes: list[Outcome] = []
    for outcome in _rounds(model, names, args.duration):
        outcomes.append(outcome)
        if not args.json:
            print(f"{MARKS[outcome.status]} {outcome.name:<18} {outcome.seconds:6.1f} s  {outcome.text}", flush=True)
    if args.json:
        print(json.dumps(record(model, outcomes), indent=1))
    failed = list(dict.fromkeys(outcome.name for outcome in outcomes if outcome.status == "failed"))
    if failed:
        raise SelfTestFailed(f"not well: {', '.join(failed)}; their lines above say what was seen")
    if not args.json:
        skipped = sum(outcome.status == "skipped" for outcome in outcomes)
        print(f"well: {len(outcomes) - skipped} checks passed" + (f", {skipped} could not be made" if skipped else ""))
    return 0


def _rounds(model: str, names: list[str], duration: float) -> "Iterator[Outcome]":
    from kdlight_edge.selftest.checks import check
    from kdlight_edge.selftest.faults import inject

    until = time.monotonic() + duration
    while True:
        yield from check(model)
        yield from inject(names, model)
        if time.monotonic() >= until:
            return


def record(model: str, outcomes: "list[Outcome]") -> dict[str, object]:
    """Return what ``--json`` prints: where and with what, and every outcome in its order."""
    from kdlight_devices.fingerprint import describe, fingerprint, versions

    return {
        "schema": "kdlight-edge/selftest/1",
        "machine": describe(fingerprint()),
        "versions": versions(),
        "model": model,
        "well": all(outcome.status != "failed" for outcome in outcomes),
        "outcomes": [{**dataclasses.asdict(outcome), "seconds": round(outcome.seconds, 2)} for outcome in outcomes],
    }
