"""Groups (patient, lesion, wall) from tables and file names: never separated."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.errors import DataError, UsageError
from kdlight_train.data import Data, open_data
from kdlight_train.identity import take
from kdlight_train.recipe import Recipe, to_json

Make = Callable[..., Path]
Paint = Callable[[Path, int], None]


def groups(data: Data, split: str) -> set[str]:
    return {picture.group for picture in data.splits[split].pictures}


def test_a_group_is_never_separated(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"a": 40, "b": 40})
    rows = [(f"{label}/{i:03}.png", f"wall-{i // 4}") for label in "ab" for i in range(40)]
    data = open_data([tmp_path], groups=[table(tmp_path / "walls.csv", rows)])
    held = [groups(data, split) for split in ("train", "val", "test")]
    assert sum(map(len, held)) == len(set.union(*held)) == 10
    # A wall holds four pictures of each class, so 15 % of 40 is one wall or two.
    assert all(4 <= number <= 8 for split in ("val", "test") for number in data.counts()[split].values())


def test_groups_of_several_classes_still_give_every_split_every_class(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"common": 60, "rare": 6})
    rows = [(f"common/{i:03}.png", f"road-{i // 5}") for i in range(60)]
    rows += [(f"rare/{i:03}.png", f"road-{i * 2}") for i in range(6)]
    for seed in range(5):
        data = open_data([tmp_path], groups=[table(tmp_path / "roads.csv", rows)], seed=seed)
        assert all(number >= 1 for counts in data.counts().values() for number in counts.values())


def test_a_class_that_a_split_lacks_gets_its_smallest_group(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"train/a": 20, "train/b": 36})
    ends = {"large": range(14), "small": range(14, 24), "middle": range(24, 36)}
    rows = [(f"b/{i:03}.png", name) for name, places in ends.items() for i in places]
    data = open_data([tmp_path], groups=[table(tmp_path / "groups.csv", rows)], val_share=0.05)
    assert data.counts()["val"]["b"] == 10


def test_a_table_beside_train_is_used_by_itself_and_said_so(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"train/a": 30, "train/b": 30})
    rows = [(f"{label}/{i:03}.png", f"p{i // 3}") for label in "ab" for i in range(30)]
    table(tmp_path / "train_sources.csv", rows)
    data = open_data([tmp_path])
    assert not groups(data, "train") & groups(data, "val")
    assert groups(data, "train") | groups(data, "val") == {f"{tmp_path.name}:p{i}" for i in range(10)}
    assert any("train_sources.csv: 10 of 60 pictures" in note for note in data.notes)


def test_a_table_beside_train_that_names_no_groups_is_told(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"train/a": 5, "train/b": 5})
    (tmp_path / "train_sources.csv").write_text("file;group\na/000.png;wall\n")
    said = "train_sources.csv lacks the columns file and group (its first line is 'file;group'; "
    assert any(said in note and note.endswith("no group is taken from there") for note in open_data([tmp_path]).notes)


def test_a_table_beside_train_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"train/a": 5, "train/b": 5})
    (tmp_path / "train_sources.csv").write_text("file,group\na/000.png,Stra\u00dfe\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"train_sources.csv is not a CSV file in UTF-8"):
        open_data([tmp_path])


def test_an_empty_group_is_a_group_of_its_own(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"train/a": 20, "train/b": 20})
    table(tmp_path / "train_sources.csv", [(f"{label}/{i:03}.png", "") for label in "ab" for i in range(20)])
    data = open_data([tmp_path])
    assert len(groups(data, "train") | groups(data, "val")) == 40
    assert data.notes == ()


def test_the_first_capture_group_of_a_file_name_is_the_group(tmp_path: Path, paint: Paint) -> None:
    for label in "ab":
        for index in range(30):
            paint(tmp_path / label / f"person{index // 3}_{index}.png", ord(label) + 1000 * index)
    data = open_data([tmp_path], group_regex=r"(person\d+)_")
    held = [groups(data, split) for split in ("train", "val", "test")]
    assert sum(map(len, held)) == 10
    assert data.notes == ()


def test_groups_of_different_folders_never_collide(tmp_path: Path, make: Make) -> None:
    places = [make(tmp_path / name / "data", {"a": 12, "b": 12}, seed) for seed, name in enumerate(("x", "y"))]
    data = open_data(places, group_regex=r"(\d)\.png")
    expected = {f"data#{place}:{digit}" for place in (1, 2) for digit in range(10)}
    assert {picture.group for split in data.splits.values() for picture in split.pictures} == expected


def test_byte_identical_copies_stay_together(tmp_path: Path, make: Make) -> None:
    make(tmp_path, {"a": 30, "b": 30})
    for path in sorted(tmp_path.glob("*/*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    data = open_data([tmp_path])
    digests = [{picture.digest for picture in split.pictures} for split in data.splits.values()]
    assert sum(map(len, digests)) == 60


def test_a_class_whose_pictures_are_one_group_cannot_be_split(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"train/a": 9, "train/b": 9})
    rows = [(f"a/{i:03}.png", f"g{i}") for i in range(9)] + [(f"b/{i:03}.png", "one") for i in range(9)]
    with pytest.raises(DataError, match="class 'b' has too few groups"):
        open_data([tmp_path], groups=[table(tmp_path / "groups.csv", rows)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,group\nx,y\n", "lacks the column file "),
        ("file;group\na/000.png;y\n", r"lacks the columns file and group \(its first line is 'file;group'; commas"),
        ("file,group\nother/x.png,y\n", "none of the 1 files"),
        ("file,group\na/000.png,x\na/000.png,y\n", "the groups 'x' and 'y'"),
        ("file,group\n", "none of the 0 files"),
        (b"file,group\n\xff\xfe,y\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, content: str | bytes, said: str, make: Make) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "groups.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=said):
        open_data([tmp_path], groups=[tmp_path / "groups.csv"])


def test_a_table_that_does_not_fit_the_folder_wholly_is_told(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"a": 5, "b": 5})
    rows = [*((f"a/{i:03}.png", "g") for i in range(3)), ("a/gone.png", "g")]
    data = open_data([tmp_path], groups=[table(tmp_path / "groups.csv", rows)])
    assert any("1 listed files are not in" in note and "a/gone.png" in note for note in data.notes)
    assert any("7 pictures are not listed and count as groups of their own" in note for note in data.notes)


def test_a_table_may_name_the_split_and_use_backslashes(tmp_path: Path, make: Make, table: Make) -> None:
    make(tmp_path, {"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2})
    rows = [(f"train\\{label}\\{i:03}.png", f"g{i // 3}") for label in "ab" for i in range(9)]
    data = open_data([tmp_path], groups=[table(tmp_path / "groups.csv", rows)])
    assert groups(data, "train") | groups(data, "val") == {f"{tmp_path.name}:g{i}" for i in range(3)}


def test_a_renamed_folder_with_groups_is_cut_otherwise_and_resume_says_so(
    tmp_path: Path, make: Make, table: Make
) -> None:
    make(tmp_path / "one", {"a": 40, "b": 40})
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    walls = table(tmp_path / "walls.csv", [(f"{label}/{i:03}.png", f"{i // 4}") for label in "ab" for i in range(40)])
    first, moved, renamed = (
        open_data([tmp_path / place], groups=[walls]).fingerprint for place in ("one", "two/one", "three")
    )
    assert first == moved != renamed
    take(tmp_path / "run", {"recipe": to_json(Recipe()), "fingerprint": first}, resume=False)
    with pytest.raises(UsageError, match=r"started with other pictures, or another cut .* a folder's name .*; use the"):
        take(tmp_path / "run", {"recipe": to_json(Recipe()), "fingerprint": renamed}, resume=True)


def test_real_crack_pictures_are_pooled_and_no_wall_or_road_is_on_two_sides(shared: Path) -> None:
    data = open_data([shared / name for name in ("crack_concrete_patch", "crack_brick", "crack_road_cfd")])
    assert data.labels == ("crack", "no_crack")
    assert data.counts()["test"] == {"crack": 62 + 84 + 182, "no_crack": 133 + 84 + 295}
    assert sum(len(data.splits[split]) for split in ("train", "val")) == 662 + 439 + 1839
    held = [groups(data, split) for split in ("train", "val", "test")]
    assert sum(map(len, held)) == len(set.union(*held))
    assert data.unreadable == ()


def test_pictures_that_all_look_alike_are_told_as_the_reason_why_they_cannot_be_split(
    tmp_path: Path, make: Make
) -> None:
    make(tmp_path / "data", {"a": 8, "b": 8})
    for number in range(1, 8):
        shutil.copy(tmp_path / "data/b/000.png", tmp_path / f"data/b/{number:03}.png")
    with pytest.raises(
        DataError, match=r"class 'b' has too few groups .* look alike are one group .*; add other pictures"
    ):
        open_data([tmp_path / "data"])
