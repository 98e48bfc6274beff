"""Pictures of other things, read or generated, and what of a student's feature parts each kind of them from its own."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Input
from kdlight_train.calibrate import OutlierModel
from kdlight_train.loose import loose_files, loose_split, told_name
from kdlight_train.patterns import patterns
from kdlight_train.pictures import load_telling

COUNT = 300
"""Pictures of each folder, evenly over it: more say nothing new about things that are none of the student's."""

RIDGE = 1e-4
"""Weight of the squared plane in its loss, the features having a mean deviation of 1."""

STEPS = 30
"""Newton's steps; eight are enough on what was seen."""

GENERATED = " (generated)"
"""Ends the name of a kind that no folder holds."""

Foreign = Mapping[str, npt.NDArray[np.uint8]]
"""Pictures that are none of a student's business, as its input would show them, uint8 [n, H, W, 3], by their kind."""


def read_foreign(paths: Sequence[Path], spec: Input, say: Callable[[str], None]) -> Foreign:
    """Read pictures of folders, of those with ``train/`` from there alone: ``test/`` stays to test with.

    What cannot be read is said and left out.

    Returns:
        Those of each folder by its name, and generated ones (`kdlight_train.patterns`), which every student is shown.

    Raises:
        DataError: a folder that holds no picture that can be read.
    """
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for path in paths:
        images = load_telling(loose_split(_files(path)), spec, say).images
        name = told_name(path)
        found[name] = np.concatenate([found[name], images]) if name in found else images
    return found | {f"{kind}{GENERATED}": images for kind, images in patterns(spec).items()}


def digest_of(foreign: Foreign) -> str | None:
    """Return the SHA-256 of the pictures that were read; None where there are none.

    Generated ones do not count: another OpenCV may draw a letter otherwise, and a training goes on all the same.
    """
    read = [images.tobytes() for kind, images in foreign.items() if not kind.endswith(GENERATED)]
    return hashlib.sha256(b"".join(read)).hexdigest() if read else None


def part_from(
    model: OutlierModel, own: npt.NDArray[np.float32], foreign: Iterable[npt.NDArray[np.float32]]
) -> OutlierModel:
    """Return an outlier model that also knows the directions in which foreign features lie.

    For each kind a logistic regression, own against foreign with equal weight, by Newton's method; log odds are added
    to the squared distance where they are positive, so that what is seen as the student's own keeps its distance
    (pictures of other things as examples: Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019).

    Args:
        model: fitted to the own features.
        own: of training pictures, float32 [n, D].
        foreign: of the pictures of each kind, float32 [m, D].
    """
    found = [_plane(own - model.mean, features - model.mean) for features in foreign]
    planes, offsets = (np.array(part, np.float32) for part in zip(*found, strict=True))
    return dataclasses.replace(model, planes=planes, offsets=offsets)


def _plane(own: npt.NDArray[np.float32], foreign: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the weights, float64 [D], and the constant of the log odds that a feature is foreign."""
    rows = np.concatenate([own, foreign]).astype(np.float64)
    scale = float(rows.std(axis=0).mean()) + 1e-12
    design = np.column_stack([rows / scale, np.ones(len(rows))])
    wanted = np.repeat([0.0, 1.0], [len(own), len(foreign)])
    share = np.repeat([0.5 / len(own), 0.5 / len(foreign)], [len(own), len(foreign)])
    ridge = np.full(design.shape[1], RIDGE)
    ridge[-1] = 0.0
    plane = np.zeros(design.shape[1])
    for _ in range(STEPS):
        odds = 1 / (1 + np.exp(-(design @ plane).clip(-30, 30)))
        slope = design.T @ (share * (odds - wanted)) + ridge * plane
        curve = (design * (share * (odds * (1 - odds) + 1e-6))[:, None]).T @ design + np.diag(ridge + 1e-9)
        plane -= np.linalg.solve(curve, slope)
    return plane[:-1] / scale, float(plane[-1])


def told(data: Mapping[str, Any], foreign: Foreign, unlabelled: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return a provenance of data that also tells how many pictures of which kind were foreign or without a label."""
    counts = {"foreign": {kind: len(images) for kind, images in foreign.items()}}
    return {**data, **({"unlabelled": dict(unlabelled)} if unlabelled else {}), **counts}


def _files(path: Path) -> list[Path]:
    files = loose_files(path, "--foreign", "pictures of other things")
    count = min(COUNT, len(files))
    return [files[place * len(files) // count] for place in range(count)]
