"""Several teachers: alike but for their seeds, and heard as one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError, UsageError
from kdlight_train import finished
from kdlight_train.components import COMPONENTS
from kdlight_train.data import open_data
from kdlight_train.distill import Lessons, Making
from kdlight_train.fit import Batch
from kdlight_train.place import choose_place
from kdlight_train.recipe import Recipe, read_recipe
from kdlight_train.teacher import make_teacher
from kdlight_train.workshop import Shelf, lessons_of, teach_teachers

SMALL = {
    "teacher.name": "mobilenet_v3_small", "teacher.imgsz": 32, "teacher.epochs": 1, "input.imgsz": 32,
    "student.name": "nano", "distil.hint": 1.0,
}  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, make: Callable[..., Path]) -> Callable[..., Shelf]:
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "weights.pth")

    def open_shelf(**changes: object) -> Shelf:
        recipe = read_recipe(None, {**SMALL, **{key.replace("_", "."): value for key, value in changes.items()}})
        return Shelf(open_data([data]), recipe, choose_place("cpu"), lambda _line: None)

    return open_shelf


def test_each_has_a_seed_of_its_own_and_the_first_is_the_one_that_teaches_alone(
    tmp_path: Path, shelf: Callable[..., Shelf]
) -> None:
    (alone,) = teach_teachers(shelf(), tmp_path / "weights.pth", tmp_path, lambda _line: None)
    first, second = teach_teachers(shelf(teacher_count=2), tmp_path / "weights.pth", tmp_path, lambda _line: None)
    assert len(list(tmp_path.glob("teachers/*/teacher.ckpt"))) == 2
    assert (first.logits["val"] == alone.logits["val"]).all()
    assert not (first.logits["val"] == second.logits["val"]).any()


def test_a_student_of_labels_alone_has_one_to_be_compared_with(tmp_path: Path, shelf: Callable[..., Shelf]) -> None:
    own = shelf(teacher_count=3, distil_method="none")
    assert len(teach_teachers(own, tmp_path / "weights.pth", tmp_path, lambda _line: None)) == 1


def test_they_answer_with_their_mean_and_the_first_ones_map(tmp_path: Path, shelf: Callable[..., Shelf]) -> None:
    own, batch = shelf(teacher_count=2), Batch(torch.arange(6), 0, 5)
    taught = teach_teachers(own, tmp_path / "weights.pth", tmp_path, lambda _line: None)
    first, second = (lessons_of(own, [one.network])(batch) for one in taught)
    both = lessons_of(own, [one.network for one in taught])(batch)
    assert first.answers is not None
    assert second.answers is not None
    assert both.answers is not None
    assert torch.equal(both.views, first.views)
    assert torch.allclose(both.answers, (first.answers + second.answers) / 2, atol=1e-6)
    assert not torch.allclose(first.answers, second.answers, atol=1e-3)
    assert both.components is not None
    assert first.components is not None
    assert both.components.shape[:2] == (6, COMPONENTS)
    assert torch.equal(both.components, first.components)


def test_without_a_teacher_a_lesson_is_pictures_and_labels(shelf: Callable[..., Shelf]) -> None:
    own = shelf()
    lesson = Lessons(own.pool, 2, own.recipe, own.place, (), Making())(Batch(torch.arange(4), 0, 5))
    assert lesson.answers is None
    assert lesson.components is None


def test_a_training_tells_what_they_know_together(
    tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data", {"train/a": 12, "train/b": 12, "test/a": 4, "test/b": 4})
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "weights.pth")
    said = [
        "train", "--data", tmp_path / "data", "--out", tmp_path / "run", "--cache", tmp_path, "--device", "cpu",
        "--teacher-weights", tmp_path / "weights.pth", "--teacher", "mobilenet_v3_small", "--teachers", 2,
        "--student", "nano", "--imgsz", 32, "--teacher-imgsz", 32, "--epochs", 1, "--teacher-epochs", 1,
    ]  # fmt: skip
    assert main([str(word) for word in said]) == 0
    metrics = finished.load(tmp_path / "run").provenance["metrics"]
    assert set(metrics) == {"teacher", "student", "teachers", "difference"}
    share = metrics["teachers"]["test"]["accuracy"]
    assert f"the 2 teachers as one: test accuracy {share:.2%}\n" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 17])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=rf"recipe key 'teacher.count' is {count}; it must be from 1 to 16"):
        read_recipe(None, {"teacher.count": count})


def test_one_teacher_is_the_default() -> None:
    assert Recipe().teacher.count == 1


def test_what_torch_says_of_a_download_stays_off_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(_name: str) -> None:
        print('Downloading: "https://..."')  # noqa: T201 - as torch.hub does
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models, "get_model_weights", fetch)
    with pytest.raises(DataError, match="could not be downloaded"):
        make_teacher("mobilenet_v3_small", 2, None)
    assert capsys.readouterr().out == ""
