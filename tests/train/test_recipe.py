"""Recipes: flags over file over defaults, and every wrong key named."""

from pathlib import Path

import pytest

from kdlight_edge.errors import UsageError
from kdlight_train.recipe import RANGES, built_in_recipes, read_recipe


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_built_in_recipe_can_be_read(name: str) -> None:
    assert read_recipe(name, {}).student.epochs > 0


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 4\n[student]\nepochs = 7\nbatch = 16\n")
    recipe = read_recipe(str(file), {"student.epochs": 3, "student.lr": None, "distil.method": "dist"})
    assert (recipe.seed, recipe.student.epochs, recipe.student.batch, recipe.distil.method) == (4, 3, 16, "dist")
    assert recipe.student.lr == read_recipe(None, {}).student.lr


def test_a_recipe_may_begin_with_the_mark_that_windows_writes(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("seed = 7\n", encoding="utf-8-sig")
    assert read_recipe(str(tmp_path / "own.toml"), {}).seed == 7


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[student]\nepoch = 7\n")
    with pytest.raises(UsageError, match=r"unknown key 'student\.epoch'; did you mean 'student\.epochs'"):
        read_recipe(str(file), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[input]\nimgsz = 100\n", r"'input\.imgsz' is 100; it must be a multiple of 32"),
        (
            "[input]\nimgsz = 224\n[teacher]\nimgsz = 160\n",
            r"'teacher\.imgsz' is 160; it must be at least input\.imgsz",
        ),
        ("[student]\nlr = 0\n", r"'student\.lr' is 0\.0; it must be above 0"),
        ("[student]\nepochs = 1.5\n", r"'student\.epochs' holds 1\.5 where int should be"),
        ('[distil]\nmethod = "magic"\n', r"'distil\.method' is 'magic', not one of none, kl"),
        ("[augment]\nscale = [0.9, 0.2]\n", r"'augment\.scale' is \[0\.9, 0\.2\]"),
        ("seed = \n", "is not TOML"),
        (f"seed = {'9' * 5000}", "is not TOML"),
        ("student = 3\n", "'student' holds 3 where a table should be"),
    ],
)
def test_values_that_cannot_be_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_recipe(str(file), {})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("seed", 99999999999999999999, "from -4611686018427387904 to 4611686018427387904"),
        ("student.seed", 2**60, "from -4294967296 to 4294967296"),
        ("student.label_smoothing", 5.0, "from 0 to 1"),
        ("teacher.label_smoothing", -0.1, "from 0 to 1"),
        ("student.warmup", -1, "0 or more"),
        ("student.weight_decay", -1.0, "0 or more"),
        ("teacher.weight_decay", float("inf"), "0 or more"),
        ("student.epochs", 0, "1 or more"),
        ("augment.stretch", 0.0, "1 or more"),
        ("augment.mixup", -1.0, "0 or more"),
        ("augment.erase", 2.0, "from 0 to 1"),
        ("augment.cutmix", 3.0, "from 0 to 1"),
        ("augment.rotate", -5.0, "from 0 to 180"),
        ("augment.brightness", -1.0, "from 0 to 1"),
        ("augment.blur", float("nan"), "from 0 to 1"),
        ("augment.noise", -2.0, "from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused_with_what_would_do(key: str, value: float, wanted: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_recipe(None, {key: value})
    assert str(raised.value) == f"recipe key '{key}' is {value}; it must be {wanted}"


def test_the_ends_of_a_range_belong_to_it() -> None:
    assert read_recipe(None, {key: least for key, least, _ in RANGES}).augment.rotate == 0
    assert read_recipe(None, {key: most for key, _, most in RANGES}).augment.rotate == 180


def test_a_recipe_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no readable file .* nor one of .*surface"):
        read_recipe("nowhere.toml", {})


def test_a_larger_picture_for_the_student_is_a_larger_picture_for_the_teacher() -> None:
    assert read_recipe(None, {"input.imgsz": 224}).teacher.imgsz == 224
    assert read_recipe(None, {"input.imgsz": 96}).teacher.imgsz == 160
