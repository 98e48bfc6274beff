#!/usr/bin/env python3
"""Train teacher and student on MedMNIST at 28 px, and write docs/results/medmnist.json beside published figures.

usage: scripts/measure_medmnist.py --data DIR --work DIR [--teacher-weights FILE]

The official splits are used as they are; the recipe was fixed before test pictures were judged. What is finished under
--work is not done again. The student has no start here: what comes with kdlight-edge was made at 128 px.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from records import write_record

from kdlight_edge.cli import main as kdlight

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "medmnist.json"

ARCHIVES: dict[str, tuple[int, int, int, dict[str, tuple[float, float]]]] = {
    "pneumoniamnist": (4, 40, 8, {"ResNet-18 (28)": (0.854, 0.944), "Google AutoML Vision": (0.946, 0.991)}),
    "breastmnist": (20, 120, 30, {"ResNet-18 (28)": (0.863, 0.901), "Google AutoML Vision": (0.861, 0.919)}),
}
"""Archive to epochs of the teacher, epochs of the student, views, and published (accuracy, AUC): MedMNIST v2, Yang et
al., Scientific Data 2023, table 3."""


def main() -> int:
    """Train, and write what the official test pictures say."""
    parser = argparse.ArgumentParser(description="Train on MedMNIST; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with NAME.npz")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where trainings stand")
    parser.add_argument("--teacher-weights", type=Path, metavar="FILE", help="ImageNet weights; else downloaded")
    args = parser.parse_args()
    rows = [judged(name, args) for name in ARCHIVES]
    write_record(RESULTS, "scripts/measure_medmnist.py --data DIR --work DIR", rows=rows)
    print(RESULTS)
    return 0


def judged(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train on one archive where that was not done, and return its row."""
    run, (teacher_epochs, epochs, views, published) = args.work / name, ARCHIVES[name]
    if not (run / "report.json").is_file():
        args.work.mkdir(parents=True, exist_ok=True)
        recipe = args.work / f"{name}.toml"
        recipe.write_text(RECIPE, encoding="utf-8")
        flags: list[object] = ["--data", args.data / f"{name}.npz", "--recipe", recipe, "--out", run]
        flags += ["--teacher-epochs", teacher_epochs, "--epochs", epochs, "--views", views, "--start", "none"]
        flags += ["--teacher-weights", args.teacher_weights] if args.teacher_weights else []
        flags += ["--resume"] if (run / "run.json").is_file() else []
        code = kdlight(["train", *map(str, flags)])
        if code:
            raise SystemExit(code)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    figures = {
        who: {key: report[who]["test"][key] for key in ("n", "accuracy", "ci95", "auc")}
        for who in ("student", "teacher")
    }
    return {"set": name, **figures, "parameters": report["student"]["parameters"], "published": published}


RECIPE = """# Grey pictures of 28 px, enlarged: what is in them is seen at 64 px, and stays upright.
[input]
colour = "grey"
imgsz = 64
[teacher]
imgsz = 96
frozen = 2
[distil]
hint = 1.0
[augment]
scale = [0.75, 1.0]
rotate = 10.0
brightness = 0.2
contrast = 0.2
"""


if __name__ == "__main__":
    raise SystemExit(main())
