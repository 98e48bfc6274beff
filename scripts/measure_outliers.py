#!/usr/bin/env python3
"""Show every bundle of models/ what it was not made for, and write docs/results/outliers.json.

usage: scripts/measure_outliers.py --data DIR [--count N]

For each bundle the outlier output of its own engine on its test pictures is compared with that on the test pictures of
the other modalities, and on noise, black pictures, text and its own pictures inverted: AUROC, and the share that the
bundle's own limit calls an outlier. ``patterns`` are those that a training shows (kdlight_train.patterns), drawn anew.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from measure_models import ROOT, TESTS
from records import typed, write_record

from kdlight_edge.bundle import open_bundle
from kdlight_edge.engines import Engine, open_engine
from kdlight_edge.manifest import Manifest
from kdlight_edge.metrics import auc
from kdlight_edge.picture import read_picture
from kdlight_edge.prepare import prepare
from kdlight_train.patterns import patterns

Images = npt.NDArray[np.uint8]
RESULTS = ROOT / "docs" / "results" / "outliers.json"

MODALITIES = {
    "brain MRI": ("brain-mri",),
    "radiographs": ("chest-xray", "radiography"),
    "skin": ("skin-lesion",),
    "tissue": ("histology-lung",),
    "surfaces": ("surface-crack", "road-crack", "road-damage", "glass-crack"),
}
"""Bundles by what they look at: those of one modality are not foreign to each other."""

ALL = "kdlight-all"
"""The bundle of all of them, to which no modality is foreign."""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the outlier output; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--count", type=int, default=120, metavar="N", help="pictures of each kind (120)")
    args = parser.parse_args()
    names = [name for name in (*TESTS, ALL) if (ROOT / "models" / f"{name}.kdl").exists()]
    write_record(
        RESULTS,
        typed(),
        bundles=[measure(name, args.data, args.count) for name in names],
    )
    print(RESULTS)
    return 0


def measure(name: str, data: Path, count: int) -> dict[str, Any]:
    """Return AUROC and the share called outlier, for each kind of foreign picture."""
    bundle = open_bundle(ROOT / "models" / f"{name}.kdl")
    manifest = bundle.manifest
    own = some(name, data, count, manifest)
    kinds = {
        f"modality: {kind}": foreign(names, data, count, manifest)
        for kind, names in MODALITIES.items()
        if name not in (*names, ALL)
    }
    kinds |= {"noise": noise(manifest), "black": black(manifest), "text": text(manifest), "inverted": 255 - own}
    kinds["patterns"] = np.concatenate(list(patterns(manifest.input, seed=1).values()))
    with open_engine(bundle, threads=1) as engine:
        limit = engine.artifact.thresholds.outlier or np.inf  # None: the artifact calls nothing an outlier
        usual = distances(engine, own)
        told = {}
        for kind, images in kinds.items():
            found = distances(engine, images)
            strange = np.r_[np.zeros(len(usual), bool), np.ones(len(found), bool)]
            told[kind] = {"auroc": auc(np.r_[usual, found], strange), "called_outlier": float((found > limit).mean())}
    return {"name": name, "own_called_outlier": float((usual > limit).mean()), "kinds": told}


def distances(engine: Engine, images: Images) -> npt.NDArray[np.float32]:
    """Return the outlier output, float32 [n], of prepared pictures."""
    return np.concatenate([engine.run(part[np.newaxis]).outlier for part in images])


def some(name: str, data: Path, count: int, manifest: Manifest) -> Images:
    """Return prepared test pictures of a bundle's sets, drawn by a fixed seed."""
    folders = TESTS[name] if name != ALL else [folder for sets in TESTS.values() for folder in sets]
    files = sorted(file for folder in folders for file in (data / folder).glob("*/*"))
    drawn = random.Random(0).sample(files, min(count, len(files)))
    return np.stack([prepare(read_picture(file), manifest) for file in drawn])


def foreign(names: tuple[str, ...], data: Path, count: int, manifest: Manifest) -> Images:
    """Return prepared test pictures of another modality."""
    return np.concatenate([some(name, data, count // len(names), manifest) for name in names])


def blank(manifest: Manifest) -> tuple[int, int, int, int]:
    """Return the shape of fifty made pictures."""
    return 50, manifest.input.height, manifest.input.width, 3


def noise(manifest: Manifest) -> Images:
    """Return pictures of random pixels."""
    return np.random.default_rng(0).integers(0, 256, blank(manifest), dtype=np.uint8)


def black(manifest: Manifest) -> Images:
    """Return the pictures of a covered lens: black with a little noise."""
    return np.random.default_rng(1).integers(0, 6, blank(manifest), dtype=np.uint8)


def text(manifest: Manifest) -> Images:
    """Return pictures of letters on white."""
    generator = np.random.default_rng(2)
    pages = np.full(blank(manifest), 255, np.uint8)
    for page in pages:
        for line in range(page.shape[0] // 20):
            words = "".join(chr(code) for code in generator.integers(65, 91, 12))
            cv2.putText(page, words, (4, 16 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1)
    return pages


if __name__ == "__main__":
    raise SystemExit(main())
