"""Pictures without a label: drawn beside the others, taught by the teacher alone, and never those that judge."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_train import finished
from kdlight_train.data import open_data
from kdlight_train.distill import Lessons, Making, augmented, student_objective
from kdlight_train.fit import NO_LABEL, Batch, Pool, Schedule, order
from kdlight_train.loss import cross_entropy, labels_given
from kdlight_train.place import choose_place
from kdlight_train.recipe import read_recipe
from kdlight_train.student import make_student
from kdlight_train.unlabelled import Unlabelled, joined, read_unlabelled
from kdlight_train.workshop import Shelf

Make = Callable[..., Path]
SCHEDULE = Schedule(epochs=4, batch=8, lr=5e-3, weight_decay=0.01, warmup=1, ema=0.8, seed=1, balance="sample", views=2)


@pytest.mark.parametrize(("unlabelled", "drawn"), [(100, 40), (12, 12)])
def test_a_pass_draws_as_many_of_them_as_have_a_label(unlabelled: int, drawn: int) -> None:
    truth = torch.tensor([0] * 20 + [1] * 20 + [NO_LABEL] * unlabelled)
    pool = Pool(torch.zeros(len(truth), 3, 32, 32, dtype=torch.uint8), truth)
    first, again, second = (order(truth, SCHEDULE, view) for view in (0, 0, 1))
    assert torch.equal(first, again)
    assert len(first) == 40 + drawn == pool.passed
    assert sorted(first[first < 40].tolist()) == list(range(40))
    strangers = first[first >= 40].tolist()
    assert len(set(strangers)) == drawn
    assert strangers != sorted(strangers)
    assert (first < 40)[:20].any()  # mixed among the others
    assert (first >= 40)[:20].any()
    assert unlabelled == drawn or set(strangers) != set(second[second >= 40].tolist())


def test_labels_count_as_far_as_they_are_given() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    target = torch.eye(3).repeat(2, 1)
    assert float(labels_given(logits, target, 0.1)) == pytest.approx(float(cross_entropy(logits, target, 0.1)))
    some = target.clone()
    some[3:] = 0
    assert float(labels_given(logits, some, 0.1)) == pytest.approx(float(cross_entropy(logits[:3], target[:3], 0.1)))
    half = torch.cat([target[:1], target[1:2] * 0.5])
    one, other = (float(cross_entropy(logits[place : place + 1], target[place : place + 1], 0.1)) for place in (0, 1))
    assert float(labels_given(logits[:2], half, 0.1)) == pytest.approx((one + other / 2) / 1.5)
    assert float(labels_given(logits, torch.zeros(6, 3), 0.1)) == 0


def test_without_a_label_the_teacher_alone_is_heard() -> None:
    recipe, place = (
        read_recipe(None, {"input.imgsz": 32, "teacher.imgsz": 32, "student.bf16": False}),
        choose_place("cpu"),
    )
    pictures = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pool = Pool(pictures, torch.tensor([0, 1, 2, 0] + [NO_LABEL] * 4))
    student, teacher, batch = make_student("nano", 3), make_student("nano", 3), Batch(torch.arange(4, 8), 0, 3)
    lessons = Lessons(pool, 3, recipe, place, [teacher], Making())
    assert float(augmented(pool, batch, 3, 32, recipe)[1].abs().sum()) == 0
    lesson = lessons(batch)
    assert lesson.answers is not None
    assert float(student_objective(lessons, recipe)(student, batch).detach()) > 0
    none = Lessons(pool, 3, recipe, place, [], Making())
    assert float(student_objective(none, recipe)(student, batch).detach()) == 0


@pytest.fixture
def shelf(tmp_path: Path, make: Make) -> Shelf:
    make(tmp_path / "data", {"train/a": 12, "train/b": 12, "val/a": 3, "val/b": 3, "test/a": 4, "test/b": 4})
    recipe = read_recipe(None, {"input.imgsz": 32, "teacher.imgsz": 32})
    return Shelf(open_data([tmp_path / "data"]), recipe, choose_place("cpu"), lambda _line: None)


def test_those_that_judge_are_left_out_and_told(tmp_path: Path, make: Make, shelf: Shelf) -> None:
    more = make(tmp_path / "more", {"train/x": 5, "test/x": 9}, seed=7)
    for name in ("val/a/000.png", "test/b/001.png"):
        shutil.copy(tmp_path / "data" / name, more / "train" / "x" / name.replace("/", "-"))
    said: list[str] = []
    found = read_unlabelled([more, make(tmp_path / "loose", {"": 2}, seed=99)], shelf, said.append)
    assert found.counts == {"more": 5, "loose": 2}
    assert said == [
        "unlabelled 5 pictures of more; 2 more look like validation or test pictures and are left out",
        "unlabelled 2 pictures of loose",
    ]
    pool = joined(shelf.pool, found)
    assert pool.labelled == 24
    assert pool.truth[24:].tolist() == [NO_LABEL] * 7
    assert torch.equal(pool.pictures[:24], shelf.pool.pictures)
    assert (pool.pictures[24:].permute(0, 2, 3, 1).numpy() == found.images).all()


def test_what_cannot_be_read_is_told_and_left_out(
    tmp_path: Path, make: Make, spoil: Callable[[Path], None], shelf: Shelf
) -> None:
    more = make(tmp_path / "more", {"": 3}, seed=7)
    said: list[str] = []
    spoil(more / "001.png")
    assert read_unlabelled([more], shelf, said.append).counts == {"more": 2}
    assert said[0].startswith(f"left out, unreadable: {more / '001.png'}: ")


def test_folders_that_will_not_do_are_refused(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(DataError, match=r"test holds validation and test pictures only; give others"):
        read_unlabelled([tmp_path / "data" / "test"], shelf, lambda _line: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"--unlabelled .*empty holds no picture; give a folder of pictures like those"):
        read_unlabelled([tmp_path / "empty"], shelf, lambda _line: None)


def test_none_changes_nothing(shelf: Shelf) -> None:
    assert joined(shelf.pool, Unlabelled()) is shelf.pool
    assert read_unlabelled([], shelf, lambda _line: None).counts == {}


def test_a_training_says_what_it_saw_and_is_resumed_with_the_same_only(
    tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    more = make(tmp_path / "more", {"": 6}, seed=77)
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "weights.pth")
    words = [
        "train", "--data", tmp_path / "data", "--out", tmp_path / "run", "--cache", tmp_path, "--device", "cpu",
        "--teacher-weights", tmp_path / "weights.pth", "--teacher", "mobilenet_v3_small", "--student", "nano",
        "--imgsz", 32, "--teacher-imgsz", 32, "--epochs", 1, "--teacher-epochs", 1, "--hint", 1,
    ]  # fmt: skip
    said = [str(word) for word in words]
    assert main([*said, "--unlabelled", str(more)]) == 0
    assert "unlabelled 6 pictures of more\n" in capsys.readouterr().err
    assert finished.load(tmp_path / "run").provenance["data"]["unlabelled"] == {"more": 6}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["unlabelled"]
    assert main([*said, "--resume"]) == 2
    assert "was started with other pictures with --unlabelled; use the same" in capsys.readouterr().err
    shutil.copy(tmp_path / "data" / "train" / "a" / "000.png", more / "new.png")
    assert main([*said, "--resume", "--unlabelled", str(more)]) == 2
    assert main([*said[:4], str(tmp_path / "run2"), *said[5:], "--method", "none", "--unlabelled", str(more)]) == 2
    assert "--unlabelled: pictures without labels need a teacher" in capsys.readouterr().err
