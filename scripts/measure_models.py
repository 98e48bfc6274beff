#!/usr/bin/env python3
"""Measure every bundle of models/ on its test pictures, and write docs/results/models.json.

usage: scripts/measure_models.py --data DIR [--only NAME]

DIR is the folder with the data sets that the bundles were trained on (see docs/benchmarks.md). Accuracy comes from
`kdlight-edge eval`, latency and sizes from `kdlight-edge bench`, the teacher's figures from the bundle's manifest: the
same test pictures, measured at the end of the training.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from records import write_record

from kdlight_edge.bundle import open_bundle

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "models.json"

TESTS = {
    "surface-crack": (
        "crack_concrete_patch/test",
        "crack_brick/test",
        "crack_masonry_dais/test",
        "crack_road_cfd/test",
    ),
    "road-crack": ("crack_road_cfd/test",),
    "road-damage": ("road_brazil_patches/test",),
    "glass-crack": ("glass_flat_cracks/test",),
    "brain-mri": ("brain_mri4/test",),
    "chest-xray": ("chest_xray_pneumonia/test",),
    "radiography": ("radiography_covid3/test",),
    "skin-lesion": ("skin_ham10000/test",),
    "histology-lung": ("histo_lc25000_lung/test",),
}
"""Bundle to the folders of its test pictures, below --data."""

NANO = {f"{name}-nano": folders for name, folders in TESTS.items() if (ROOT / "models" / f"{name}-nano.kdl").is_dir()}
"""The smaller ones that earned a place."""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the bundles; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--only", choices=TESTS | NANO, help="measure one bundle and keep the others' figures")
    args = parser.parse_args()
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))["models"] if args.only else []
    measured = [measure(name, args.data.resolve()) for name in ([args.only] if args.only else TESTS | NANO)]
    entries = {entry["name"]: entry for entry in (*kept, *measured)}
    write_record(
        RESULTS,
        "scripts/measure_models.py --data DIR",
        models=[entries[name] for name in TESTS | NANO if name in entries],
    )
    print(RESULTS)
    return 0


def measure(name: str, data: Path) -> dict[str, Any]:
    """Return the figures of one bundle."""
    bundle = Path("models") / f"{name}.kdl"
    manifest, folders = open_bundle(ROOT / bundle).manifest, (TESTS | NANO)[name]
    judged = run("eval", bundle, "--data", *(data / folder for folder in folders))
    parts = {
        folder: run("eval", bundle, "--data", data / folder) for folder in folders[: 0 if len(folders) == 1 else None]
    }
    speed = run("bench", bundle, "--quick", "--threads", "1")
    teacher = manifest.provenance.metrics["teacher"]["test"]
    return {
        "name": name,
        "labels": [label.id for label in manifest.labels],
        "eval": {key: value for key, value in judged.items() if key != "unreadable"},  # it has paths of this machine
        "by_set": {
            folder.split("/")[0]: {key: part[key] for key in ("n", "accuracy", "ci95")}
            for folder, part in parts.items()
        },
        "teacher": {"name": manifest.provenance.teacher, **teacher},
        "px": manifest.input.width,
        "parameters": manifest.parameters,
        "macs": manifest.macs,
        "bytes": speed["bundle"]["bytes"],
        "p50_ms": speed["model"]["p50"],
        "bench": speed,
    }


def run(verb: str, *arguments: object) -> dict[str, Any]:
    """Run a verb with --json and return its object."""
    command = [sys.executable, "-m", "kdlight_edge.cli", verb, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{shlex.join(command)} ended with {done.returncode}")
    record: dict[str, Any] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    raise SystemExit(main())
