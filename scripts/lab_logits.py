"""Writes pictures, prints a bundle's logits of them, or compares two such prints; runs on every processor of the lab.

usage: lab_logits.py pictures FOLDER | logits MODEL FOLDER | compare MODEL A.json B.json | record WORK WHEELS FILE
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.golden import golden_picture
from kdlight_edge.picture import read_picture

PICTURES = 8


def pictures(folder: Path) -> None:
    """Write generated pictures, half of them as JPEG: the decoders of the two processors are compared too."""
    import cv2

    folder.mkdir(parents=True)
    for seed in range(PICTURES):
        suffix = "jpg" if seed % 2 else "png"
        cv2.imwrite(str(folder / f"{seed}.{suffix}"), golden_picture(100 + seed)[..., ::-1])


def logits(model: str, folder: Path) -> None:
    """Print the logits of every picture as one JSON object."""
    with open_classifier(model, threads=1) as classifier:
        answers = {
            file.name: classifier.outputs([read_picture(file)]).logits[0].tolist() for file in sorted(folder.iterdir())
        }
    print(json.dumps(answers))


def compare(model: str, one: Path, other: Path) -> int:
    """Tell the largest difference; 4 where it is above the bundle's tolerance."""
    tolerance = open_bundle(model).manifest.golden.tolerance
    first, second = (json.loads(file.read_text()) for file in (one, other))
    if first.keys() != second.keys() or not first:
        raise SystemExit("the two prints are of different pictures")
    largest = max(abs(a - b) for name in first for a, b in zip(first[name], second[name], strict=True))
    print(f"{len(first)} pictures, largest |Δlogit| {largest:.2g} (allowed {tolerance:g})")
    return 0 if largest <= tolerance else 4


def record(work: Path, wheels: Path, file: Path) -> None:
    """Write what the lab saw: its steps, the versions of its wheels, how equal the logits were."""
    from kdlight_devices.fingerprint import describe, fingerprint

    steps = [line.split("\t") for line in (work / "steps").read_text().splitlines()]
    known = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "scripts/lab-arm64 --record",
        "machine": describe(fingerprint()),
        "versions": {
            name: version for name, version, *_ in (one.name.split("-") for one in sorted(wheels.glob("*.whl")))
        },
        "system": (work / "system").read_text().strip(),
        "steps": [{"step": name, "seconds": float(seconds)} for name, seconds in steps],
        "equal": (work / "equal").read_text().strip(),
    }
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    """Do one of the four."""
    what, *rest = sys.argv[1:]
    if what == "pictures":
        pictures(Path(rest[0]))
    elif what == "record":
        record(*map(Path, rest))
    elif what == "logits":
        logits(rest[0], Path(rest[1]))
    else:
        return compare(rest[0], Path(rest[1]), Path(rest[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
