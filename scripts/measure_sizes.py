#!/usr/bin/env python3
"""Judge what `reproduce_zoo` made in other sizes beside the small bundles, and write docs/results/sizes.json.

usage: scripts/measure_sizes.py --data DIR --work DIR

WORK/NAME-nano.kdl and WORK/NAME-paper.kdl are measured as the bundles of models/ are. A nano bundle earns its place
there when it is no more than half a point worse than the small one on validation and on test pictures.
"""

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from measure_models import RESULTS as MODELS  # type: ignore[import-not-found] # the file beside this one
from measure_models import TESTS, run

from kdlight_devices.fingerprint import describe, fingerprint, versions
from kdlight_edge.bundle import open_bundle

RESULTS = MODELS.with_name("sizes.json")
SIZES = ("nano", "paper")


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Judge other sizes; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where reproduce_zoo worked")
    args = parser.parse_args()
    small = {entry["name"]: entry for entry in json.loads(MODELS.read_text(encoding="utf-8"))["models"]}
    rows = []
    for name, folders in TESTS.items():
        made = [args.work / f"{name}-{size}.kdl" for size in SIZES]
        if any(bundle.is_dir() for bundle in made):
            rows.append(row(name, "small", MODELS.parents[2] / "models" / f"{name}.kdl", small[name]["eval"]))
        rows += [
            row(name, size, bundle, run("eval", bundle, "--data", *(args.data / one for one in folders)))
            for size, bundle in zip(SIZES, made, strict=True)
            if bundle.is_dir()
        ]
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "scripts/measure_sizes.py --data DIR --work DIR",
        "machine": describe(fingerprint()),
        "versions": versions(),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(RESULTS)
    return 0


def row(name: str, size: str, path: Path, judged: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one bundle, the speed taken in this very run."""
    bundle = open_bundle(path)
    speed = run("bench", path, "--quick", "--threads", "1")
    metrics = bundle.manifest.provenance.metrics
    return {
        "name": name,
        "size": size,
        "parameters": bundle.manifest.parameters,
        "macs": bundle.manifest.macs,
        "bytes": bundle.bytes,
        "precision": judged["precision"],
        "p50_ms": speed["model"]["p50"],
        "val": metrics["student"]["val"]["accuracy"],
        "val_n": metrics["student"]["val"]["n"],
        **{key: judged[key] for key in ("n", "accuracy", "ci95", "balanced_accuracy")},
        "teacher": metrics["teacher"]["test"]["accuracy"],
    }


if __name__ == "__main__":
    raise SystemExit(main())
