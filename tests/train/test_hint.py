"""The teacher's feature map as a hint: its components, what they change, and the networks that have none."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from kdlight_edge.errors import UsageError
from kdlight_train.components import fit_components, unexplained
from kdlight_train.distill import Hinted, Lessons, Making, student_objective
from kdlight_train.fit import Batch, Pool
from kdlight_train.place import Place
from kdlight_train.recipe import Recipe, read_recipe
from kdlight_train.student import make_student
from kdlight_train.teacher import Teacher, for_answers, for_maps, freeze, make_teacher

PLACE = Place(torch.device("cpu"), bf16=False)


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(None, {"input.imgsz": 32, "distil.hint": 1.0, "student.name": "nano"})


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    file = tmp_path / "weights.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), file)
    return make_teacher("mobilenet_v3_small", 3, file).eval()


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(256, (12, 3, 160, 160), generator=generator, dtype=torch.uint8)
    return Pool(pictures, torch.arange(12) % 3)


def test_components_of_few_directions_explain_all_of_them() -> None:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(400, 3, generator=generator) @ torch.randn(3, 200, generator=generator)
    components = fit_components(rows)
    assert components.kept == pytest.approx(1, abs=1e-6)
    told = components(rows[:, :, None, None], (1, 1))
    assert float(told.square().sum(dim=1).mean()) == pytest.approx(1, rel=1e-3)
    assert float(unexplained(told, told)) == 0


def test_a_copy_with_maps_gives_the_teacher_s_own_logits(teacher: Teacher) -> None:
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits, maps = for_maps(teacher, "mobilenet_v3_small", PLACE)(pictures)
        assert torch.allclose(logits, teacher(pictures), atol=1e-5)
        assert torch.allclose(for_answers(teacher, PLACE)(pictures), teacher(pictures), atol=1e-5)
    assert maps.shape == (2, 576, 2, 2)


def test_a_lesson_holds_the_components_at_the_student_s_places(pool: Pool, recipe: Recipe, teacher: Teacher) -> None:
    lesson = Lessons(pool, 3, recipe, PLACE, [teacher], Making())(Batch(torch.arange(4), 0, 9))
    assert lesson.components is not None
    assert lesson.components.shape[2:] == (1, 1)
    assert lesson.components.isfinite().all()


def test_the_hint_brings_the_student_s_map_nearer_to_the_teacher_s(
    pool: Pool, recipe: Recipe, teacher: Teacher
) -> None:
    torch.manual_seed(0)
    network = Hinted(make_student("nano", 3)).train()
    objective = student_objective(Lessons(pool, 3, recipe, PLACE, [teacher], Making()), recipe)
    batch = Batch(torch.arange(12), 0, 5)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    wanted = Lessons(pool, 3, recipe, PLACE, [teacher], Making())(batch)
    assert wanted.components is not None

    def distance() -> float:
        _, given = network(wanted.views.float() / 255)
        return float(unexplained(given, wanted.components).detach())  # type: ignore[arg-type]

    before = distance()
    for _ in range(15):
        optimizer.zero_grad()
        objective(network, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert distance() < 0.8 * before


def test_a_hinted_student_answers_like_the_student_inside() -> None:
    torch.manual_seed(0)
    network = Hinted(make_student("nano", 3)).eval()
    pictures = torch.rand(2, 3, 32, 32)
    given: Tensor = network(pictures)
    assert torch.equal(given, network.student(pictures))


def test_a_teacher_without_a_feature_part_cannot_give_hints_nor_be_frozen() -> None:
    resnet = Teacher(torchvision.models.resnet18(num_classes=3))
    with pytest.raises(UsageError, match="resnet18"):
        for_maps(resnet, "resnet18", PLACE)
    with pytest.raises(UsageError, match="resnet18 has no feature map"):
        freeze(resnet, "resnet18", 2)


def test_frozen_stages_get_no_gradient_and_the_others_do(teacher: Teacher) -> None:
    freeze(teacher, "mobilenet_v3_small", 3)
    teacher.train()(torch.rand(2, 3, 64, 64)).sum().backward()
    stages = list(teacher.network.features.children())  # type: ignore[union-attr]
    assert all(weight.grad is None for stage in stages[:3] for weight in stage.parameters())
    assert all(weight.grad is not None for stage in stages[3:] for weight in stage.parameters())
    with pytest.raises(UsageError, match=r"teacher\.frozen is 99"):
        freeze(teacher, "mobilenet_v3_small", 99)
