"""A MedMNIST archive (one .npz file) to labelled pictures: arrays, names of classes, parts."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_train.pictures import Picture, identify_array

LABELS = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal_benign"),
}
"""Names of the classes by the archive's stem (MedMNIST v2, Yang et al., Scientific Data 2023); others are numbered."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The content of one archive."""

    labels: tuple[str, ...]
    parts: Mapping[str, tuple[Picture, ...]]
    """``train``, and ``val`` and ``test`` where they are there."""


def read_archive(path: Path) -> Archive:
    """Read ``train_images`` uint8 [n, h, w] or [n, h, w, 3], ``train_labels`` [n] or [n, 1], and ``val_``, ``test_``.

    Raises:
        DataError: not such an archive, pixels of another type, or several labels a picture.
    """
    arrays = _open(path)
    if "train_images" not in arrays or "train_labels" not in arrays:
        raise DataError(f"{path} lacks train_images or train_labels; it holds {', '.join(arrays) or 'nothing'}")
    found = {}
    for part in ("train", "val", "test"):
        if f"{part}_images" in arrays:
            found[part] = _part(path, part, arrays)
    classes = 1 + max(int(truth.max()) for _, truth in found.values() if len(truth))
    stem = path.stem.split("_")[0].lower()
    labels = LABELS.get(stem, tuple(str(index) for index in range(classes)))
    if classes > len(labels):
        raise DataError(f"{path} has labels up to {classes - 1}, and {stem} has the classes {', '.join(labels)}")
    parts = {part: _pictures(path, part, images, truth) for part, (images, truth) in found.items()}
    return Archive(labels, {part: members for part, members in parts.items() if members})


def _open(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        # Opened here, because NumPy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a whole .npz archive"
        raise DataError(f"{path} cannot be read: {reason}; copy the file again") from error


def _part(
    path: Path, part: str, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images, truth = arrays[f"{part}_images"], arrays.get(f"{part}_labels")
    if truth is None:
        raise DataError(f"{path} has {part}_images and no {part}_labels")
    colour = images.ndim == 4 and images.shape[3] == 3  # noqa: PLR2004 - n, h, w and three channels
    if images.dtype != np.uint8 or not (images.ndim == 3 or colour):  # noqa: PLR2004 - n, h, w
        raise DataError(
            f"{path}: {part}_images is {images.dtype} {list(images.shape)}; uint8 [n, h, w] or [n, h, w, 3] is needed"
        )
    if truth.size != len(images) or truth.dtype.kind not in "ui":
        raise DataError(
            f"{path}: {part}_labels is {truth.dtype} {list(truth.shape)}; one whole number a picture is needed"
        )
    return images, truth.reshape(-1).astype(np.int64)


def _pictures(
    path: Path, part: str, images: npt.NDArray[np.uint8], truth: npt.NDArray[np.int64]
) -> tuple[Picture, ...]:
    size = (images.shape[2], images.shape[1])
    made = []
    for index, (image, label) in enumerate(zip(images, truth.tolist(), strict=True)):
        digest = identify_array(image)
        made.append(Picture(None, image, label, f"sha256:{digest}", f"{path.stem}/{part}/{index}", digest, size))
    return tuple(made)
