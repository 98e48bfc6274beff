#!/usr/bin/env python3
"""Judge the one student of all sets on each set's test pictures, and write docs/results/all.json.

usage: scripts/measure_all.py --data DIR [--model models/kdlight-all.kdl]

For each set: how often its answer, over all classes, is right; how often it names a class of that very set, and of that
modality; and how often it is right when only the set's own classes are compared, as one who knows his modality would.
"""

import argparse
import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from measure_outliers import MODALITIES
from records import write_record

from kdlight_edge.bundle import open_bundle
from kdlight_edge.engines import open_engine
from kdlight_edge.metrics import wilson
from kdlight_edge.picture import read_picture
from kdlight_edge.prepare import prepare

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "all.json"
KIND = {name: kind for kind, names in MODALITIES.items() for name in names}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Judge the student of all sets; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kdlight-all.kdl", metavar="NAME.kdl")
    args = parser.parse_args()
    bundle = open_bundle(args.model)
    labels = [label.id for label in bundle.manifest.labels]
    alone = {one["name"]: one["eval"] for one in json.loads(RESULTS.with_name("models.json").read_text())["models"]}
    rows = []
    with open_engine(bundle, threads=1) as engine:
        for name, sets in parts().items():
            files = [file for one in sets for file in sorted((args.data / one / "test").glob("*/*"))]
            pictures = (prepare(read_picture(file), bundle.manifest) for file in files)
            logits = np.concatenate([engine.run(picture[np.newaxis]).logits for picture in pictures])
            row = judge(name, logits, [f"{name}.{file.parent.name}" for file in files], labels)
            rows.append({**row, "sets": list(sets), "alone": alone[name]["accuracy"], "alone_n": alone[name]["n"]})
        precision = engine.artifact.precision
    total = sum(row["n"] for row in rows)
    write_record(
        RESULTS,
        "scripts/measure_all.py --data DIR",
        precision=precision,
        parameters=bundle.manifest.parameters,
        bytes=bundle.bytes,
        n=total,
        accuracy=sum(row["accuracy"] * row["n"] for row in rows) / total,
        modality=sum(row["modality"] * row["n"] for row in rows) / total,
        teacher=bundle.manifest.provenance.metrics["teacher"]["test"]["accuracy"],
        rows=rows,
    )
    print(RESULTS)
    return 0


def parts() -> dict[str, tuple[str, ...]]:
    """Return the parts of the merged set, as `scripts/merge_sets` lays them."""
    file = ROOT / "scripts" / "merge_sets"
    spec = spec_from_file_location("merge_sets", file, loader=SourceFileLoader("merge_sets", str(file)))
    assert spec is not None  # noqa: S101 - a loader was given
    assert spec.loader is not None  # noqa: S101 - as above
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, tuple[str, ...]] = module.PARTS
    return found


def judge(name: str, logits: Any, truth: list[str], labels: list[str]) -> dict[str, Any]:
    """Return the shares for one part, whose classes are named ``part.class``."""
    answers = [labels[place] for place in logits.argmax(axis=1)]
    own = [place for place, label in enumerate(labels) if label.split(".")[0] == name]
    within = [labels[own[place]] for place in logits[:, own].argmax(axis=1)]
    right = sum(answer == true for answer, true in zip(answers, truth, strict=True))
    right_within = sum(answer == true for answer, true in zip(within, truth, strict=True))
    n = len(truth)
    return {
        "name": name,
        "n": n,
        "accuracy": right / n,
        "ci95": wilson(right, n),
        "own_set": sum(answer.split(".")[0] == name for answer in answers) / n,
        "modality": sum(KIND[answer.split(".")[0]] == KIND[name] for answer in answers) / n,
        "within": right_within / n,
        "within_ci95": wilson(right_within, n),
    }


if __name__ == "__main__":
    raise SystemExit(main())
