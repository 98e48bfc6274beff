"""`kdlight-edge pretrain`: a start without labels, and what `train --start` makes of it."""

import hashlib
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_train import checkpoint
from kdlight_train.data import open_data
from kdlight_train.start import HEAD, SHIPPED, load_start, seen_by, start_of
from kdlight_train.student import make_student

Make = Callable[..., Path]

RECIPE = """
[input]
imgsz = 32
[teacher]
name = "mobilenet_v3_small"
imgsz = 32
epochs = 1
batch = 8
[student]
name = "nano"
epochs = 6
batch = 8
warmup = 1
ema = 0.5
[distil]
views = 2
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a teacher's weights that need no network."""
    file = tmp_path_factory.mktemp("teacher") / "weights.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), file)
    return file


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe of a second."""
    file = tmp_path / "short.toml"
    file.write_text(RECIPE)
    return file


def _pretrain(data: Path, out: Path, recipe: Path, weights: Path, *more: str) -> int:
    flags = ["--recipe", recipe, "--teacher-weights", weights, "--device", "cpu", *more]
    return main(["pretrain", "--data", str(data), "--out", str(out), *map(str, flags)])


def test_a_start_learns_the_features_of_the_teacher_and_holds_no_classes(
    tmp_path: Path, make: object, recipe: Path, weights: Path
) -> None:
    data = make(tmp_path / "data", {"train/a": 20, "train/b": 20})  # type: ignore[operator]
    assert _pretrain(data, tmp_path / "start.pt", recipe, weights) == 0
    state = checkpoint.load(tmp_path / "start.pt")
    history = (checkpoint.load(tmp_path / "start.ckpt") or {})["history"]
    assert state is not None
    assert history[-1]["loss"] < history[0]["loss"]
    assert not set(HEAD) & set(state["weights"])
    fresh = make_student("nano", 3)
    assert set(load_start(tmp_path / "start.pt", "nano")) == set(fresh.state_dict()) - set(HEAD)


def test_a_finished_pretraining_started_again_ends_at_once_with_the_same_weights(
    tmp_path: Path, make: object, recipe: Path, weights: Path
) -> None:
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})  # type: ignore[operator]
    out = tmp_path / "start.pt"
    _pretrain(data, out, recipe, weights)
    first = load_start(out, "nano")
    out.unlink()
    _pretrain(data, out, recipe, weights)
    again = load_start(out, "nano")
    assert all(torch.equal(again[key], value) for key, value in first.items())


def test_the_state_of_another_start_is_not_gone_on_with(
    tmp_path: Path, make: object, recipe: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(tmp_path / "first", {"train/a": 12, "train/b": 12})  # type: ignore[operator]
    other = make(tmp_path / "other", {"train/a": 12, "train/b": 12}, seed=7)  # type: ignore[operator]
    out = tmp_path / "start.pt"
    assert _pretrain(first, out, recipe, weights) == 0
    written = out.read_bytes()
    capsys.readouterr()
    assert _pretrain(other, out, recipe, weights) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert out.read_bytes() == written


def test_ctrl_c_is_answered_by_how_to_go_on(
    tmp_path: Path,
    make: object,
    recipe: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdlight_train.pretrain.open_data", stopped)
    monkeypatch.setattr("kdlight_train.training.open_data", stopped)
    data = make(tmp_path / "data", {"a": 4, "b": 4})  # type: ignore[operator]
    assert _pretrain(data, tmp_path / "start.pt", recipe, weights) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on\n"
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(command) == 130
    assert capsys.readouterr().err == "stopped; the same command with --resume goes on\n"
    assert main([*command, "--resume"]) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on\n"


@pytest.mark.parametrize(
    ("out", "there", "said"),
    [
        ("start.ckpt", "", "keeps a .ckpt, a .json and a .lock beside its start; name it .pt"),
        ("start.json", "", "keeps a .ckpt, a .json and a .lock beside its start; name it .pt"),
        ("start.lock", "", "keeps a .ckpt, a .json and a .lock beside its start; name it .pt"),
        ("data", "", "data is a folder; give a file in it, as"),
        ("student.pt", "student.pt", "student.pt is there and of no pretraining"),
        ("student.pt", "student.ckpt", "student.ckpt is there and of no pretraining"),
    ],
)
def test_a_start_takes_no_place_of_something_else(
    tmp_path: Path,
    make: Make,
    recipe: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    out: str,
    there: str,
    said: str,
) -> None:
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    if there:
        (tmp_path / there).write_text("of a training")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert _pretrain(data, tmp_path / out, recipe, weights) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_full_disk_is_answered_by_how_pretrain_goes_on(
    tmp_path: Path, make: Make, recipe: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = make(tmp_path / "data", {"train/a": 12, "train/b": 12}), tmp_path / "start.pt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        assert _pretrain(data, out, recipe, weights) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(
        "start.ckpt could not be written (File too large); free some room and give the same command again"
    )
    assert _pretrain(data, out, recipe, weights) == 0


def test_a_wrong_flag_does_not_take_the_place_of_the_start(
    tmp_path: Path, make: object, recipe: Path, weights: Path
) -> None:
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})  # type: ignore[operator]
    out = tmp_path / "start.pt"
    assert _pretrain(data, out, recipe, weights, "--teacher", "nosuch") == 2
    assert _pretrain(data, out, recipe, weights, "--epochs", "1") == 0


def test_a_start_sees_no_test_picture_of_a_training_with_the_same_groups_and_says_what_of_another_one(
    tmp_path: Path, make: object, recipe: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, start = make(tmp_path / "data", {"a": 40, "b": 40}), tmp_path / "start.pt"  # type: ignore[operator]
    rows = [f"{label}/{number:03}.png,wall{number // 4}" for label in "ab" for number in range(40)]
    table = tmp_path / "walls.csv"
    table.write_text("\n".join(["file,group", *rows]) + "\n")
    same = ["--groups", str(table), "--seed", "3"]
    assert _pretrain(data, start, recipe, weights, *same, "--epochs", "1") == 0
    words = ["--data", data, "--start", start, "--recipe", recipe, "--teacher-weights", weights, "--cache", tmp_path]
    command = ["train", *map(str, words), "--device", "cpu", "--epochs", "1", "--out"]
    capsys.readouterr()
    assert main([*command, str(tmp_path / "one"), *same]) == 0
    held = {name: len(split) for name, split in open_data([data], groups=[table], seed=3).splits.items()}
    assert (
        f"--start {start} was made from {held['val']} of the {held['val']} val pictures "
        f"and 0 of the {held['test']} test pictures\n"
    ) in capsys.readouterr().err
    others = open_data([data]).splits
    told = seen_by(start, others)
    seen = {
        one.digest
        for name in ("train", "val")
        for one in open_data([data], groups=[table], seed=3).splits[name].pictures
    }
    count = sum(one.digest in seen for one in others["test"].pictures)
    assert count > 0
    assert told is not None
    assert told.endswith(f"and {count} of the {len(others['test'])} test pictures")
    assert seen_by(SHIPPED / "small.pt", others) is None


def test_tables_of_groups_are_one_for_each_folder(
    tmp_path: Path, make: object, recipe: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(tmp_path / "data", {"a": 4, "b": 4})  # type: ignore[operator]
    assert _pretrain(data, tmp_path / "start.pt", recipe, weights, "--groups", "a.csv", "b.csv") == 2
    assert "2 tables with --groups for 1 data folders" in capsys.readouterr().err


def test_a_training_says_in_its_provenance_which_start_it_had_and_refuses_another_one(
    tmp_path: Path, make: object, recipe: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(tmp_path / "data", {"train/a": 20, "train/b": 20})  # type: ignore[operator]
    start, other, run = tmp_path / "start.pt", tmp_path / "other.pt", tmp_path / "run"
    for seed, file in enumerate((start, other)):
        torch.manual_seed(seed)
        checkpoint.save(file, {"student": "nano", "weights": make_student("nano", 2).state_dict()})
    flags = [
        "--data",
        data,
        "--out",
        run,
        "--recipe",
        recipe,
        "--teacher-weights",
        weights,
        "--cache",
        tmp_path / "kept",
    ]
    command = ["train", *map(str, flags), "--device", "cpu"]
    assert main([*command, "--start", str(start)]) == 0
    assert len((checkpoint.load(run / "student.pt") or {})["provenance"]["recipe"]["start"]) == 64
    capsys.readouterr()
    assert main([*command, "--start", str(other), "--resume"]) == 2
    assert "was started with start =" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["small", "nano"])
def test_a_student_starts_at_the_weights_that_come_with_kdlight_edge_unless_told_otherwise(name: str) -> None:
    shipped = start_of(None, name)
    assert shipped is not None
    network = make_student(name, 2)
    missing, unknown = network.load_state_dict(load_start(shipped, name), strict=False)
    assert (set(missing), unknown) == ({"head.weight", "head.bias"}, [])
    assert start_of("none", name) is None
    assert start_of(None, "base") is None
    assert start_of("own.pt", name) == Path("own.pt")


@pytest.mark.parametrize("flags", [[], ["--start", "none"]])
def test_a_training_of_a_small_student_says_whether_it_had_the_shipped_start(
    tmp_path: Path, make: object, recipe: Path, weights: Path, flags: list[str]
) -> None:
    data = make(tmp_path / "data", {"train/a": 20, "train/b": 20})  # type: ignore[operator]
    run = tmp_path / "run"
    words = ["--data", data, "--out", run, "--recipe", recipe, "--student", "small", "--teacher-weights", weights]
    assert main(["train", *map(str, words), "--cache", str(tmp_path / "kept"), "--device", "cpu", *flags]) == 0
    made = (checkpoint.load(run / "student.pt") or {})["provenance"]["recipe"]
    shipped = hashlib.sha256((SHIPPED / "small.pt").read_bytes()).hexdigest()
    assert made.get("start") == (None if flags else shipped)


def test_a_start_of_another_student_or_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "base.pt", {"student": "base", "weights": {}})
    with pytest.raises(DataError, match="holds student 'base', wanted is 'small'"):
        load_start(tmp_path / "base.pt", "small")
    with pytest.raises(DataError, match="does not exist"):
        load_start(tmp_path / "none.pt", "small")


@pytest.mark.parametrize("content", [b"[card]\n", b"PK\x03\x04 cut", {"head.bias": torch.zeros(1)}, torch.zeros(1)])
def test_a_file_that_is_no_start_is_told_from_one_and_stays(tmp_path: Path, content: object) -> None:
    file = tmp_path / "card.toml"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(DataError, match=r"card\.toml is no start.*; give a file of kdlight-edge pretrain"):
        load_start(file, "small")
