"""MedMNIST archives as data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_train.data import load, open_data

Make = Callable[..., Path]


Archive = Callable[..., Path]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Return ``write(stem, parts, shape, classes, **changes) -> Path``, which writes an archive of random pictures."""

    def write(
        stem: str = "thing",
        parts: Sequence[str] = ("train", "val", "test"),
        shape: tuple[int, ...] = (9, 8),
        classes: int = 2,
        **changes: Any,
    ) -> Path:
        random = np.random.default_rng(len(parts))
        arrays: dict[str, Any] = {}
        for part in parts:
            arrays[f"{part}_images"] = random.integers(0, 256, (4 * classes, *shape), np.uint8)
            arrays[f"{part}_labels"] = np.tile(np.arange(classes, dtype=np.uint8), 4)[:, None]
        np.savez(tmp_path / f"{stem}.npz", **{**arrays, **changes})
        return tmp_path / f"{stem}.npz"

    return write


def test_an_archive_carries_its_parts_and_the_names_of_its_classes(archive: Archive) -> None:
    data = open_data([archive("breastmnist")])
    assert data.labels == ("malignant", "normal_benign")
    assert data.counts() == {part: {"malignant": 4, "normal_benign": 4} for part in ("train", "val", "test")}
    assert open_data([archive("pneumoniamnist_64")]).labels == ("normal", "pneumonia")
    assert open_data([archive("other", classes=3)]).labels == ("0", "1", "2")


def test_an_archive_with_training_pictures_only_gets_a_val_and_no_test(archive: Archive) -> None:
    data = open_data([archive(parts=["train"])])
    assert data.counts() == {"train": {"0": 3, "1": 3}, "val": {"0": 1, "1": 1}}


def test_grey_and_colour_archives_are_loaded_as_three_channels(archive: Archive, tmp_path: Path) -> None:
    grey, colour = open_data([archive("grey")]), open_data([archive("colour", shape=(9, 8, 3))])
    spec = Input(8, 9)
    images = load(grey.test or grey.val, spec).images
    assert images.shape == (8, 9, 8, 3)
    assert np.array_equal(images[..., 0], images[..., 2])
    with np.load(tmp_path / "grey.npz") as arrays:
        assert np.array_equal(images[..., 1], arrays["test_images"])
    with np.load(tmp_path / "colour.npz") as arrays:
        assert np.array_equal(load(colour.val, spec).images, arrays["val_images"])


def test_an_archive_and_a_folder_are_pooled_by_the_names_of_their_classes(
    archive: Archive, tmp_path: Path, make: Make
) -> None:
    # As names, 10 comes before 2: the folder's order is not the archive's.
    folder = make(tmp_path / "folder", {f"train/{label}": 4 for label in range(11)})
    data = open_data([folder, archive(classes=11)])
    assert data.labels == ("0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9")
    assert data.counts()["test"] == dict.fromkeys(data.labels, 4)
    with np.load(tmp_path / "thing.npz") as arrays:
        tens = [image.tobytes() for image, label in zip(arrays["test_images"], arrays["test_labels"], strict=True)
                if label == 10]  # fmt: skip
    found = [picture.array for picture in data.splits["test"].pictures if data.labels[picture.label] == "10"]
    assert [image.tobytes() for image in found if image is not None] == tens


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_images": np.zeros((8, 9, 8), np.float32)}, r"train_images is float32 \[8, 9, 8\]"),
        ({"train_images": np.zeros((8, 9, 8, 8), np.uint8)}, r"uint8 \[n, h, w\] or \[n, h, w, 3\] is needed"),
        ({"val_labels": np.zeros((8, 14), np.uint8)}, r"val_labels is uint8 \[8, 14\]"),
        ({"train_labels": np.zeros(8, np.uint8)}, "class '1' has 0 readable pictures"),
    ],
)
def test_an_archive_of_another_kind_is_refused(archive: Archive, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_data([archive(**changes)])


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thing.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match=r"not a whole \.npz archive"):
        open_data([tmp_path / "thing.npz"])
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(DataError, match="lacks train_images or train_labels; it holds weights"):
        open_data([tmp_path / "other.npz"])


def test_a_real_archive_has_its_official_counts(shared: Path) -> None:
    data = open_data([shared / "medmnist" / "breastmnist.npz"])
    assert data.counts() == {
        "train": {"malignant": 147, "normal_benign": 399},
        "val": {"malignant": 21, "normal_benign": 57},
        "test": {"malignant": 42, "normal_benign": 114},
    }
