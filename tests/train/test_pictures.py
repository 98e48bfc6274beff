"""Pictures to the network's input: what the runtime would see, and nothing left out in silence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_edge.picture import read_picture
from kdlight_edge.prepare import prepare_input
from kdlight_train.data import load, open_data
from kdlight_train.place import choose_place
from kdlight_train.recipe import read_recipe
from kdlight_train.workshop import Shelf

Make = Callable[..., Path]
Spoil = Callable[[Path], None]


def test_loading_gives_what_the_runtime_would_see(tmp_path: Path, make: Make) -> None:
    data = open_data([make(tmp_path, {"a": 5, "b": 5})])
    spec = Input(16, 12, colour="grey", resize="fit")
    loaded = load(data.train, spec)
    assert loaded.images.dtype == np.uint8
    assert loaded.kept.tolist() == list(range(len(data.train)))
    assert loaded.unreadable == ()
    for image, picture in zip(loaded.images, data.train.pictures, strict=True):
        assert picture.path is not None
        assert np.array_equal(image, prepare_input(read_picture(picture.path), spec))


def test_a_picture_that_does_not_decode_is_named_and_the_others_kept_in_order(
    tmp_path: Path, make: Make, spoil: Spoil
) -> None:
    make(tmp_path, {"a": 8, "b": 8})
    data = open_data([tmp_path])
    whole = load(data.train, Input(16, 16))
    broken = data.train.pictures[2].path
    assert broken is not None
    spoil(broken)
    loaded = load(data.train, Input(16, 16))
    assert [bad.name for bad in loaded.unreadable] == [data.train.pictures[2].name]
    assert loaded.kept.tolist() == [index for index in range(len(data.train)) if index != 2]
    assert np.array_equal(loaded.images, whole.images[loaded.kept])


def test_a_split_without_one_readable_picture_is_refused(tmp_path: Path, make: Make, spoil: Spoil) -> None:
    data = open_data([make(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})])
    for picture in data.val.pictures:
        assert picture.path is not None
        spoil(picture.path)
    with pytest.raises(DataError, match="none of 4 pictures can be read"):
        load(data.val, Input(16, 16))


def test_a_class_without_one_training_picture_that_decodes_is_refused(tmp_path: Path, make: Make, spoil: Spoil) -> None:
    data = open_data([make(tmp_path, {"train/a": 3, "train/b": 2, "val/a": 2, "val/b": 2})])
    for number in range(2):
        spoil(tmp_path / "train" / "b" / f"{number:03}.png")
    told: list[str] = []
    with pytest.raises(DataError, match="class 'b' has no training picture that can be decoded"):
        Shelf(data, read_recipe(None, {"input.imgsz": 32}), choose_place("cpu"), told.append)
    assert len(told) == 2
