"""The distillation losses against what their papers say of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlight_edge.errors import UsageError
from kdlight_train.loss import METHODS, cross_entropy, dist, dkd, kl, method, standardised


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(16, 5, generator=generator), torch.randn(16, 5, generator=generator) * 3


@pytest.mark.parametrize("name", METHODS)
def test_a_student_that_answers_as_its_teacher_has_no_loss(name: str, logits: tuple[Tensor, Tensor]) -> None:
    _, teacher = logits
    assert float(METHODS[name](teacher.clone(), teacher, 2.0)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_following_the_gradient_brings_the_student_nearer(name: str, logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits[0].requires_grad_(), logits[1]
    before = METHODS[name](student, teacher, 2.0)
    (gradient,) = torch.autograd.grad(before, student)
    after = METHODS[name](student - 0.1 * gradient, teacher, 2.0)
    assert float(after.detach()) < float(before.detach())


def test_kl_is_the_divergence_by_its_definition(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    p, q = (teacher / 3).softmax(dim=1), (student / 3).softmax(dim=1)
    by_hand = 9 * (p * (p.log() - q.log())).sum(dim=1).mean()
    assert float(kl(student, teacher, 3.0)) == pytest.approx(float(by_hand), rel=1e-5)


def test_standardised_logits_forgive_shift_and_scale(logits: tuple[Tensor, Tensor]) -> None:
    _, teacher = logits
    assert float(standardised(teacher * 0.2 + 7, teacher, 2.0)) == pytest.approx(0, abs=1e-4)
    assert float(kl(teacher * 0.2 + 7, teacher, 2.0)) > 0.1


def test_dist_asks_for_relations_and_not_for_values(logits: tuple[Tensor, Tensor]) -> None:
    _, teacher = logits
    assert float(dist(teacher + 5, teacher, 1.0)) == pytest.approx(0, abs=1e-4)
    assert float(dist(-teacher, teacher, 1.0)) > 2


def test_dist_is_by_its_definition(logits: tuple[Tensor, Tensor]) -> None:
    given, wanted = ((x / 2).softmax(dim=1).double().numpy() for x in logits)
    between = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(given, wanted, strict=True)])
    within = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(given.T, wanted.T, strict=True)])
    assert float(dist(*logits, 2.0)) == pytest.approx(2 * 4 * (between + within), rel=1e-4)


def test_dkd_weighs_the_order_of_the_other_classes_eight_times(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits[0].double(), logits[1].double()
    p, q = (teacher / 2).softmax(dim=1), (student / 2).softmax(dim=1)
    by_hand = 0.0
    for wanted, given in zip(p, q, strict=True):
        target = int(wanted.argmax())
        rest = [index for index in range(len(wanted)) if index != target]
        pairs = [(wanted[target], given[target]), (1 - wanted[target], 1 - given[target])]
        orders = [(wanted[i] / wanted[rest].sum(), given[i] / given[rest].sum()) for i in rest]
        by_hand += float(sum(a * (a / b).log() for a, b in pairs) + 8 * sum(a * (a / b).log() for a, b in orders))
    assert float(dkd(student, teacher, 2.0)) == pytest.approx(4 * by_hand / len(p), rel=1e-6)


@pytest.mark.parametrize("name", ["standardised", "dist", "dkd"])
def test_methods_that_compare_shapes_are_refused_for_two_classes(name: str) -> None:
    with pytest.raises(UsageError, match="cannot teach two classes"):
        method(name, 2)


def test_kl_teaches_any_number_of_classes() -> None:
    assert method("kl", 2) is kl


def test_cross_entropy_takes_mixed_targets() -> None:
    logits, half = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    wanted = -0.5 * (torch.log_softmax(logits, dim=1)).sum()
    assert float(cross_entropy(logits, half, 0.0)) == pytest.approx(float(wanted))
