"""Folders of labelled pictures to training, validation and test pictures."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import UsageError
from kdlight_train.data import Data, open_data

Make = Callable[..., Path]
Paint = Callable[[Path, int], None]


def names(data: Data, split: str) -> set[str]:
    return {picture.name for picture in data.splits[split].pictures} if split in data.splits else set()


def test_a_plain_folder_is_cut_in_three_by_class(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"crack": 40, "intact": 20})])
    assert data.labels == ("crack", "intact")
    assert data.counts() == {
        "train": {"crack": 28, "intact": 14},
        "val": {"crack": 6, "intact": 3},
        "test": {"crack": 6, "intact": 3},
    }
    assert len(names(data, "train") | names(data, "val") | names(data, "test")) == 60
    assert data.train.truth.tolist() == [0] * 28 + [1] * 14
    assert data.train.truth.dtype == np.int64


def test_parts_that_are_there_are_taken_as_they_lie(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"train/a": 5, "train/b": 4, "val/a": 1, "val/b": 2, "test/a": 3, "test/b": 1})
    data = open_data([tmp_path])
    assert data.counts() == {"train": {"a": 5, "b": 4}, "val": {"a": 1, "b": 2}, "test": {"a": 3, "b": 1}}


def test_a_missing_val_is_cut_from_train_and_a_missing_test_stays_missing(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"train/a": 20, "train/b": 20})], val_share=0.25)
    assert data.counts() == {"train": {"a": 15, "b": 15}, "val": {"a": 5, "b": 5}}
    assert data.test is None


def test_test_pictures_are_never_mixed_in(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"train/a": 10, "train/b": 10, "test/a": 7, "test/b": 7})])
    assert names(data, "test") == {f"{tmp_path.name}/test/{label}/{i:03}.png" for label in "ab" for i in range(7)}
    assert not any("/test/" in name for name in names(data, "train") | names(data, "val"))


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("TRAIN", "Test")])
def test_parts_are_known_by_their_usual_names(tmp_path: Path, train: str, test: str, make: Make) -> None:
    make(tmp_path, {f"{train}/a": 8, f"{train}/b": 8, f"{test}/a": 3, f"{test}/b": 3})
    data = open_data([tmp_path])
    assert data.labels == ("a", "b")
    assert data.counts()["test"] == {"a": 3, "b": 3}


def test_the_same_data_give_the_same_cut_and_another_seed_another(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 40, "b": 40})
    first, again, other = open_data([tmp_path]), open_data([tmp_path]), open_data([tmp_path], seed=1)
    assert names(first, "val") == names(again, "val")
    assert first.fingerprint == again.fingerprint
    assert names(first, "val") != names(other, "val")
    assert first.fingerprint != other.fingerprint


def test_a_new_picture_moves_at_most_a_few_others(tmp_path: Path, paint: Paint, make: Make) -> None:
    before = open_data([make(tmp_path, {"a": 60, "b": 60})])
    paint(tmp_path / "a" / "new.png", 987_654)
    after = open_data([tmp_path])
    assert len(names(before, "test") ^ names(after, "test")) <= 3
    assert len(names(before, "val") ^ names(after, "val")) <= 4


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path, paint: Paint, make: Make) -> None:
    make(tmp_path / "one", {"a": 10, "b": 10})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "a" / "000.png").rename(tmp_path / "two" / "a" / "renamed.png")
    assert open_data([tmp_path / "one"]).fingerprint == open_data([tmp_path / "two"]).fingerprint
    paint(tmp_path / "two" / "a" / "001.png", 987_654)
    assert open_data([tmp_path / "one"]).fingerprint != open_data([tmp_path / "two"]).fingerprint


def test_several_folders_are_pooled_by_class_name(tmp_path: Path, make: Make) -> None:
    wall = make(tmp_path / "wall", {"train/crack": 10, "train/intact": 10, "test/crack": 2, "test/intact": 2})
    road = make(tmp_path / "road", {"train/crack": 20, "train/intact": 20, "test/crack": 3, "test/intact": 4}, 1)
    data = open_data([wall, road], val_share=0.2)
    assert data.counts() == {
        "train": {"crack": 24, "intact": 24},
        "val": {"crack": 6, "intact": 6},
        "test": {"crack": 5, "intact": 6},
    }


def test_a_pooled_folder_without_a_test_is_told(tmp_path: Path, make: Make) -> None:
    wall = make(tmp_path / "wall", {"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 2})
    road = make(tmp_path / "road", {"train/a": 10, "train/b": 10}, 1)
    data = open_data([wall, road])
    assert data.counts()["test"] == {"a": 2, "b": 2}
    assert any(note.startswith(f"{road} has no test/") for note in data.notes)


def test_a_class_that_a_given_val_lacks_is_told(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"train/a": 5, "train/b": 5, "val/a": 2})])
    assert "val holds no picture of class 'b': its sensitivity cannot be measured there" in data.notes


def test_pictures_in_subfolders_belong_to_their_class(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"a/monday": 4, "a/tuesday": 4, "b": 5})])
    assert sum(counts["a"] for counts in data.counts().values()) == 8


def test_near_duplicates_without_a_group_stay_on_one_side_of_a_cut(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"train/a": 30, "train/b": 30})
    for file in sorted((tmp_path / "train").glob("*/*.png")):
        picture = np.asarray(cv2.imread(str(file)), np.float32)
        brighter = (0.9 * picture + 12).astype(np.uint8)
        cv2.imwrite(str(file.with_name(f"{file.stem}-copy.png")), brighter)
    data = open_data([tmp_path], val_share=0.3)
    train, val = ({name.replace("-copy", "") for name in names(data, part)} for part in ("train", "val"))
    assert val
    assert not train & val


def test_groups_that_are_given_are_kept_although_pictures_look_alike(
    tmp_path: Path, paint: Paint, table: Callable[..., Path]
) -> None:
    for label in ("a", "b"):
        for number in range(8):
            paint(tmp_path / "train" / label / f"{number}.png", number // 4 + 100 * (label == "b"))
    rows = [(f"{label}/{number}.png", f"{label}{number}") for label in ("a", "b") for number in range(8)]
    table(tmp_path / "train_sources.csv", rows)
    data = open_data([tmp_path], val_share=0.3)
    assert len({picture.group for picture in (*data.train.pictures, *data.val.pictures)}) == 16


@pytest.mark.parametrize("second", ["data", "link", "other/../data", "data/train", "data/train/a"])
def test_pictures_that_would_count_twice_are_refused(tmp_path: Path, make: Make, second: str) -> None:
    data = make(tmp_path / "data", {"train/a/x": 4, "train/a/y": 4, "train/b": 4, "test/a": 2, "test/b": 2})
    make(tmp_path / "other", {"train/a": 2, "train/b": 2}, seed=5)
    (tmp_path / "link").symlink_to("data")
    again = tmp_path / second
    for first, later in ((data, again), (again, data)):
        with pytest.raises(UsageError, match=f"would count twice, by {first} and by {later}; give them once"):
            open_data([tmp_path / "other", first, later])


def test_a_folder_beside_the_parts_of_another_one_holds_other_pictures(tmp_path: Path, make: Make) -> None:
    data = make(tmp_path / "data", {"train/a": 4, "train/b": 4, "more/a": 8, "more/b": 8})
    assert sum(map(len, open_data([data, data / "more"]).splits.values())) == 24
