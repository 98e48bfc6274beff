"""Data that cannot be used: one line each, saying what is wrong."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.picture import NOT_A_FILE
from kdlight_train.data import open_data

Make = Callable[..., Path]


def test_folders_with_other_classes_are_refused_by_name(tmp_path: Path, make: Make) -> None:
    wall = make(tmp_path / "wall", {"crack": 5, "intact": 5})
    road = make(tmp_path / "road", {"crack": 5, "pothole": 5})
    with pytest.raises(DataError, match=r"road lacks intact and adds pothole where .*wall has the classes crack, inta"):
        open_data([wall, road])


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({}, "is empty: no class folders"),
        ({".": 3}, "holds 3 pictures but no class folders"),
        ({"a": 5}, "holds one class folder only"),
        ({"a": 5, "b": 1}, "class 'b' has 1 readable picture, a split in 3 parts needs 3 or more"),
        ({"train/a": 5, "train/b": 1}, "class 'b' has 1 readable picture, a split in 2 parts"),
        ({"train/a": 5, "train/b": 5, "test/c": 2}, "class 'c' is in .*test and not in .*train"),
        ({"val/a": 5, "val/b": 5}, "holds val/ but no train/"),
        ({"train/a": 5, "Training/a": 5}, "holds Training and train, which both mean train"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, numbers: dict[str, int], said: str, make: Make
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with pytest.raises(DataError, match=said) as raised:
        open_data([make(root, numbers)])
    assert "\n" not in str(raised.value)


def test_an_empty_class_folder_is_refused(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"class folder .*c holds no picture"):
        open_data([tmp_path])


def test_a_class_folder_of_scans_is_told_as_such(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(
        DataError, match=r"class folder .*c holds scans \(DICOM\) and no picture; write their frames as PNG"
    ):
        open_data([tmp_path])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere cannot be read: No such file or directory"):
        open_data([tmp_path / "nowhere"])


@pytest.fixture
def closed_folder(make: Make) -> Iterator[Path]:
    """Give a folder with a class that may not be read, seen by a user who is not root."""
    with tempfile.TemporaryDirectory() as name:
        root = make(Path(name), {"a": 3, "b": 3})
        root.chmod(0o755)
        (root / "b").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield root
        os.seteuid(user)
        (root / "b").chmod(0o755)


def test_a_folder_that_may_not_be_read_is_refused(closed_folder: Path) -> None:
    with pytest.raises(DataError, match=r"b cannot be read: Permission denied"):
        open_data([closed_folder])


def test_folders_beside_the_parts_that_are_not_read_are_told(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"Training/a": 5, "Training/b": 5, "dev/a": 2, "dev/b": 2, "holdout/a": 1, ".git/a": 1})
    assert f"{tmp_path}: not read, being no train/, val/ or test/: dev, holdout" in open_data([tmp_path]).notes


def test_files_that_are_no_pictures_are_ignored_and_counted(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("")
    (tmp_path / "__MACOSX").mkdir()
    data = open_data([tmp_path])
    assert sum(map(len, data.splits.values())) == 10
    assert any("3 hidden or other files are no pictures, ignored" in note for note in data.notes)


def test_files_that_only_look_like_pictures_are_unreadable_and_in_no_split(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    (tmp_path / "a" / "text.jpg").write_text("not a picture")
    whole = (tmp_path / "a" / "000.png").read_bytes()
    (tmp_path / "b" / "half.png").write_bytes(whole[: len(whole) // 2])
    data = open_data([tmp_path])
    reasons = {bad.name.split("/")[-1]: bad.reason for bad in data.unreadable}
    assert reasons.keys() == {"empty.png", "text.jpg", "half.png"}
    assert reasons["empty.png"] == "empty file (0 bytes)"
    assert "truncated" in reasons["half.png"]
    assert sum(map(len, data.splits.values())) == 12


def test_one_readable_picture_is_too_few(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 6, "b": 1})
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"class 'b' has 1 readable picture,.* \(1 cannot be read; .*b/empty\.png: empty"
    ):
        open_data([tmp_path])


def test_a_folder_without_one_readable_picture_is_refused_by_its_first(tmp_path: Path) -> None:
    for name in ("a/0.jpg", "a/1.jpg", "b/0.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not a picture")
    with pytest.raises(DataError, match=r": none of 3 pictures can be read; the first: .*a/0\.jpg: not a picture"):
        open_data([tmp_path])


def test_a_train_folder_without_one_readable_picture_is_refused_beside_a_good_val(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"val/a": 3, "val/b": 3, "train/a": 1, "train/b": 1})
    for picture in (tmp_path / "train").rglob("*.png"):
        picture.write_text("not a picture")
    with pytest.raises(DataError, match=r"class 'a' has 0 readable pictures,.* \(2 cannot be read; .*train/a/000\.png"):
        open_data([tmp_path])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"groups": [Path("a.csv")], "group_regex": "(x)"}, "--groups and --group-regex both"),
        ({"groups": [Path("a.csv"), Path("b.csv")]}, "2 tables with --groups for 1 data folders"),
        ({"group_regex": "x"}, "no capture group"),
        ({"group_regex": "(x"}, "not a regular expression"),
        ({"group_regex": "(nothing)"}, "matches no file name"),
        ({"val_share": 0.6, "test_share": 0.5}, "shares of 0.6 and 0.5"),
        ({"val_share": 0.0}, "shares of 0 and 0.15"),
    ],
)
def test_arguments_that_do_not_fit_together_are_usage_errors(
    tmp_path: Path, arguments: dict[str, Any], said: str, make: Make
) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    with pytest.raises(UsageError, match=re.escape(said)):
        open_data([tmp_path], **arguments)


def test_a_ring_of_links_gives_no_picture_twice(tmp_path: Path, make: Make) -> None:
    root = make(tmp_path / "data", {"train/a": 6, "train/a/more": 2, "train/b": 8})
    (root / "train" / "a" / "ring").symlink_to(".")
    (root / "train" / "a" / "more" / "back").symlink_to("..")
    data = open_data([root])
    assert sum(number["a"] for number in data.counts().values()) == 8
    assert data.notes == (
        f"{root}: 2 hidden or other files are no pictures, ignored (first: {root}/train/a/more/back)",
    )


def test_pipes_and_devices_among_the_pictures_are_told_and_not_waited_for(tmp_path: Path, make: Make) -> None:
    root = make(tmp_path / "data", {"train/a": 6, "train/b": 6})
    os.mkfifo(root / "train" / "a" / "pipe.jpg")
    (root / "train" / "b" / "zero.png").symlink_to("/dev/zero")
    assert [(bad.name, bad.reason) for bad in open_data([root]).unreadable] == [
        ("data/train/a/pipe.jpg", NOT_A_FILE),
        ("data/train/b/zero.png", NOT_A_FILE),
    ]
