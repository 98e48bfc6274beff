"""The student family: sizes, and the promises that the export and the runtime build on."""

import pytest
import torch
from torch import nn

from kdlight_train.student import STUDENTS, Bottleneck, ConvNorm, make_student, multiply_adds, parameters

STATED = {"nano": 0.11e6, "small": 0.3e6, "base": 0.55e6, "paper": 1.9e6}


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_has_the_size_it_is_known_by(name: str) -> None:
    assert parameters(make_student(name, 4)) == pytest.approx(STATED[name], rel=0.05)


@pytest.mark.parametrize("name", STUDENTS)
def test_students_are_made_of_what_quantises_well(name: str) -> None:
    kinds = {type(module) for module in make_student(name, 2).modules()}
    assert kinds <= {
        type(make_student(name, 2)), nn.Sequential, ConvNorm, Bottleneck, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear,
    }  # fmt: skip
    for module in make_student(name, 2).modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels % 16 == 0


def test_multiply_adds_of_one_convolution_are_counted_exactly() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False))
    assert multiply_adds(network, 16, 16) == 8 * 8 * 8 * 27 + 8 * 8 * 8 * 9


def test_parameters_count_one_bias_for_each_output_of_a_folded_convolution() -> None:
    assert parameters(nn.Sequential(ConvNorm(3, 16, 3), nn.Flatten(), nn.Linear(16, 2))) == 3 * 16 * 9 + 16 + 16 * 2 + 2


def test_the_logit_is_the_linear_layer_on_the_mean_feature() -> None:
    torch.manual_seed(0)
    student = make_student("nano", 3).eval()
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        features = student.features(x)
        assert features.shape == (2, 128, 2, 3)
        torch.testing.assert_close(student(x), student.head(features.mean(dim=(2, 3))))


def test_counting_leaves_a_network_in_the_mode_it_was_in() -> None:
    student = make_student("nano", 2).train()
    multiply_adds(student, 32, 32)
    assert student.training
    assert not any(module._forward_hooks for module in student.modules())
