#!/usr/bin/env python3
"""Say what the teacher gives: students that learnt from it beside ones that learnt from labels alone.

usage: scripts/measure_gain.py --work DIR    (writes docs/results/gain.json)

WORK/NAME and WORK/NAME-labels are what `scripts/reproduce_zoo --only NAME` and `--only NAME-labels` made: same student,
start, pictures, views, epochs and seed, the second without a teacher. Both students are compared as trained (fp32) on
the same test pictures; the interval is of the mean over the sets, from the binomial variance of each (Newcombe's plain
difference), taking the two as independent. A set that is not under --work keeps the row that was recorded before.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from measure_models import RESULTS as MODELS
from measure_models import TESTS
from records import write_record

RESULTS = MODELS.with_name("gain.json")
SPLITS = ("val", "test")


def main() -> int:
    """Compare and write."""
    parser = argparse.ArgumentParser(description="Say what the teacher gives; see the file's own first lines.")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where reproduce_zoo worked")
    args = parser.parse_args()
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.is_file() else []
    found = {one["name"]: one for one in before}
    for name in TESTS:
        taught, alone = (args.work / run / "report.json" for run in (name, f"{name}-labels"))
        if taught.is_file() and alone.is_file():
            found[name] = row(name, taught, alone)
    rows = [found[name] for name in TESTS if name in found]
    mean = sum(one["gain"] for one in rows) / len(rows)
    margin = 1.96 * math.sqrt(sum(variance(one) for one in rows)) / len(rows)
    record = write_record(
        RESULTS, "scripts/measure_gain.py --work DIR", rows=rows, mean=mean, ci95=[mean - margin, mean + margin]
    )
    print(f"{mean:+.2%} over {len(rows)} sets ({record['ci95'][0]:+.2%} to {record['ci95'][1]:+.2%})")
    return 0


def row(name: str, *files: Path) -> dict[str, Any]:
    """Return the two students of one set, by their reports."""
    taught, alone = (json.loads(file.read_text(encoding="utf-8"))["student"] for file in files)
    return {
        "name": name,
        "n": taught["test"]["n"],
        **{f"{split}_taught": taught[split]["accuracy"] for split in SPLITS},
        **{f"{split}_alone": alone[split]["accuracy"] for split in SPLITS},
        "gain": taught["test"]["accuracy"] - alone["test"]["accuracy"],
    }


def variance(one: dict[str, Any]) -> float:
    """Return the variance of a difference of two shares of n pictures."""
    taught, alone, n = one["test_taught"], one["test_alone"], one["n"]
    return float(taught * (1 - taught) + alone * (1 - alone)) / int(n)


if __name__ == "__main__":
    raise SystemExit(main())
