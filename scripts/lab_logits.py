"""Writes pictures, prints a bundle's logits of them, or compares two such prints; runs on every processor of the lab.

usage: lab_logits.py pictures FOLDER | logits MODEL FOLDER | compare MODEL A.json B.json
"""

import json
import sys
from pathlib import Path

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.picture import read_picture
from kdlight_edge.testing import golden_picture

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


def main() -> int:
    """Do one of the three."""
    what, *rest = sys.argv[1:]
    if what == "pictures":
        pictures(Path(rest[0]))
    elif what == "logits":
        logits(rest[0], Path(rest[1]))
    else:
        return compare(rest[0], Path(rest[1]), Path(rest[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
