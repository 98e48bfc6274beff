#!/usr/bin/env python3
"""Judge what `reproduce_zoo` made in other sizes beside the small bundles, and write docs/results/sizes.json.

usage: scripts/measure_sizes.py --data DIR --work DIR

WORK/NAME-nano.kdl and WORK/NAME-paper.kdl are measured as the bundles of models/ are. A nano bundle earns its place
there when it is no more than half a point worse than the small one on validation and on test pictures. The teacher's
time is that of its network at its side of the picture in float, in the faster of both engines, in the same run: random
weights, which do not change it. docs/accuracy_latency.svg shows all of it.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from accuracy_chart import chart
from compare_peers import make, pixels, run_onnxruntime, run_openvino
from measure_models import RESULTS as MODELS
from measure_models import TESTS, run
from records import write_record

from kdlight_edge.bundle import open_bundle
from kdlight_edge.meter import collect, warm_up

RESULTS = MODELS.with_name("sizes.json")
CHART = MODELS.parents[1] / "accuracy_latency.svg"
TEACHER, RUNS = "mobilenet_v2", 100
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
        rows.append(row(name, "small", MODELS.parents[2] / "models" / f"{name}.kdl", small[name]["eval"]))
        rows += [
            row(name, size, bundle, run("eval", bundle, "--data", *(args.data / one for one in folders)))
            for size, bundle in zip(SIZES, made, strict=True)
            if bundle.is_dir()
        ]
    teacher_ms = {side: teacher_time(side) for side in sorted({one["teacher_px"] for one in rows})}
    write_record(RESULTS, "scripts/measure_sizes.py --data DIR --work DIR", teacher_ms=teacher_ms, rows=rows)
    CHART.write_text(chart(panels(rows, teacher_ms)), encoding="utf-8")
    print(RESULTS, CHART, sep="\n")
    return 0


def teacher_time(side: int) -> float:
    """Return the median time of the teacher's network for one picture of ``side`` pixels on one thread, ms."""
    with tempfile.TemporaryDirectory() as folder:
        file, picture = Path(folder) / "teacher.onnx", pixels(side)
        make(TEACHER, side, file, None)
        runs = [run_onnxruntime(file, picture, 1), run_openvino(file, picture, 1)]
        for one in runs:
            warm_up(one, limit=0.3)
        return min(statistics.median(collect(one, seconds=0, samples=RUNS)) for one in runs)


def panels(rows: list[dict[str, Any]], teacher_ms: dict[int, float]) -> dict[str, list[dict[str, Any]]]:
    """Return the points of the chart, the teacher's once for each set, its time by the side of its picture."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        point = {"who": one["size"], "ms": one["p50_ms"], "accuracy": one["accuracy"], "ci95": one["ci95"]}
        found.setdefault(one["name"], []).append(point)
        if one["size"] == "small":
            ms = teacher_ms[one["teacher_px"]]
            teacher = {"who": "teacher", "ms": ms, "accuracy": one["teacher"], "ci95": one["teacher_ci95"]}
            found[one["name"]].append(teacher)
    return found


def row(name: str, size: str, path: Path, judged: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one bundle, the speed taken in this very run."""
    bundle = open_bundle(path)
    speed = run("bench", path, "--quick", "--threads", "1")
    metrics = bundle.manifest.provenance.metrics
    return {
        "name": name,
        "size": size,
        "px": bundle.manifest.input.width,
        "teacher_px": bundle.manifest.provenance.recipe["teacher"]["imgsz"],
        "parameters": bundle.manifest.parameters,
        "macs": bundle.manifest.macs,
        "bytes": bundle.bytes,
        "precision": judged["precision"],
        "p50_ms": speed["model"]["p50"],
        "val": metrics["student"]["val"]["accuracy"],
        "val_n": metrics["student"]["val"]["n"],
        **{key: judged[key] for key in ("n", "accuracy", "ci95", "balanced_accuracy")},
        "teacher": metrics["teacher"]["test"]["accuracy"],
        "teacher_ci95": metrics["teacher"]["test"]["ci95"],
        "difference": metrics.get("difference", {}).get("test"),
    }


if __name__ == "__main__":
    raise SystemExit(main())
