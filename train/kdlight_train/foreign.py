"""Pictures of other things: read from any folders, and what of a student's feature parts them from its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_edge.picture import EXTENSIONS
from kdlight_train.calibrate import OutlierModel
from kdlight_train.pictures import Picture, Split, load

COUNT = 300
"""Pictures of each folder, evenly over it: more say nothing new about things that are none of the student's."""

RIDGE = 1e-4
"""Weight of the squared plane in its loss, the features having a mean deviation of 1."""

STEPS = 30
"""Newton's steps; eight are enough on what was seen."""


@dataclasses.dataclass(frozen=True, slots=True)
class Foreign:
    """Pictures that are none of a student's business, as its input would show them."""

    images: npt.NDArray[np.uint8]
    """uint8 [n, H, W, 3]."""
    counts: Mapping[str, int]
    """Folder name to the number of its pictures."""


def read_foreign(paths: Sequence[Path], spec: Input) -> Foreign:
    """Read pictures of folders, of those with ``train/`` from there alone: ``test/`` stays to test with.

    Raises:
        DataError: a folder that holds no picture that can be read.
    """
    images, counts = [], {}
    for path in paths:
        loaded = load(Split(tuple(_picture(file) for file in _files(path))), spec)
        images.append(loaded.images)
        counts[path.resolve().name] = len(loaded.images)
    return Foreign(np.concatenate(images), counts)


def part_from(model: OutlierModel, own: npt.NDArray[np.float32], foreign: npt.NDArray[np.float32]) -> OutlierModel:
    """Return an outlier model that also knows the direction in which foreign features lie.

    A logistic regression, own against foreign with equal weight, by Newton's method; its log odds are added to the
    squared distance where they are positive, so that what is seen as the student's own keeps its distance (pictures of
    other things as examples: Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019).

    Args:
        model: fitted to the own features.
        own: of training pictures, float32 [n, D].
        foreign: of other pictures, float32 [m, D].
    """
    rows = np.concatenate([own, foreign]).astype(np.float64) - model.mean
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
    return dataclasses.replace(model, plane=(plane[:-1] / scale).astype(np.float32), offset=float(plane[-1]))


def told(data: Mapping[str, Any], foreign: Foreign | None) -> dict[str, Any]:
    """Return a provenance of data that names the foreign folders too."""
    return {**data, **({"foreign": dict(foreign.counts)} if foreign else {})}


def _files(path: Path) -> list[Path]:
    root = path / "train" if (path / "train").is_dir() else path
    try:
        files = sorted(file for file in root.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    except OSError as error:
        raise DataError(f"--foreign {path} cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(f"--foreign {path} holds no picture; give a folder of pictures of other things")
    count = min(COUNT, len(files))
    return [files[place * len(files) // count] for place in range(count)]


def _picture(file: Path) -> Picture:
    return Picture(file, None, 0, file.name, str(file), "", (0, 0))
