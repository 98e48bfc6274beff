"""8 bits without training: an odd picture takes no range, channels are equalised exactly, weights keep the answers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kdlight_edge.golden import golden_picture
from kdlight_train.eight_bits import WEIGHT_STEPS
from kdlight_train.equalise import equalise
from kdlight_train.rounded import RoundedConv, RoundedStudent, numbers_of
from kdlight_train.rounding import moments, round_layer, round_student
from kdlight_train.spans import Span, _counts, spans_of
from kdlight_train.student import PIXEL_SCALE, ConvNorm, Student, make_student


@pytest.fixture
def student() -> Student:
    """Return a student whose batch norms are spread as a trained one's are, with one channel that is nearly dead."""
    torch.manual_seed(3)
    network = make_student("nano", 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.uniform_(0.2, 3)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    network.head.weight.data.normal_()
    return network.eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.stack([torch.from_numpy(golden_picture(seed)[:64, :64].copy()) for seed in range(24)]).permute(
        0, 3, 1, 2
    )


def logits(network: nn.Module, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = network(pictures.float() * PIXEL_SCALE)
        return result


def test_a_folded_network_without_ranges_answers_as_the_student(student: Student, pictures: Tensor) -> None:
    torch.testing.assert_close(
        logits(RoundedStudent(student), pictures), logits(student, pictures), rtol=1e-4, atol=1e-4
    )


def test_equal_channels_leave_the_answers_as_they_were(student: Student, pictures: Tensor) -> None:
    network = RoundedStudent(student).requires_grad_(requires_grad=False)
    equalise(network, spans_of(network, pictures))
    before = RoundedStudent(student)
    assert not torch.equal(network.stem.weight, before.stem.weight)
    torch.testing.assert_close(logits(network, pictures), logits(student, pictures), rtol=1e-3, atol=1e-3)


def test_equal_channels_have_limits_that_lie_nearer_to_one_another(student: Student, pictures: Tensor) -> None:
    network = RoundedStudent(student).requires_grad_(requires_grad=False)
    before = spans_of(network, pictures)["stem.relu"].limits()
    equalise(network, spans_of(network, pictures))
    after = spans_of(network, pictures)["stem.relu"].limits()
    alive = before > 0.01 * before.max()
    assert after[alive].log().std() < 0.9 * before[alive].log().std()


def test_one_picture_with_values_a_hundred_times_the_usual_does_not_take_the_range() -> None:
    torch.manual_seed(0)
    values = torch.randn(200, 4, 8, 8).relu()
    usual = Span(float(values.max()), signed=False, counts=_counts(values, float(values.max()))).limit()
    values[0] *= 300
    with_odd = Span(float(values.max()), signed=False, counts=_counts(values, float(values.max()))).limit()
    assert with_odd < 3 * usual


def test_weights_are_rounded_so_that_the_layer_gives_what_it_gave(student: Student, pictures: Tensor) -> None:
    layer = RoundedConv(student.stem)
    layer.requires_grad_(requires_grad=False)
    x = pictures.float() * PIXEL_SCALE
    wanted = layer.linear(x)
    nearest = copy.deepcopy(layer)
    nearest.scale.copy_(nearest.weight.abs().amax(dim=(1, 2, 3)) / WEIGHT_STEPS)
    round_layer(layer, moments(layer, x))
    far, near = ((one.linear(x) - wanted).square().mean() for one in (nearest, layer))
    assert near < 0.5 * far
    steps = layer.weight / layer.scale[:, None, None, None]
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert steps.abs().max() <= WEIGHT_STEPS + 1e-3


def test_a_dead_channel_is_rounded_without_a_division_by_zero(student: Student, pictures: Tensor) -> None:
    dead = student.deep[0].get_submodule("widen")
    assert isinstance(dead, ConvNorm)
    norm = dead[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.data[5], norm.bias.data[5] = 0, -1
    found = logits(round_student(student, pictures), pictures)
    assert torch.isfinite(found).all()
    assert (found - logits(student, pictures)).abs().max() < 0.3 * logits(student, pictures).abs().max()


def test_the_numbers_of_a_rounded_network_are_a_student_on_its_grid(student: Student, pictures: Tensor) -> None:
    rounded = round_student(student, pictures)
    eight = numbers_of(rounded, copy.deepcopy(student), "by a test")
    again = make_student("nano", 3).eval()
    again.load_state_dict(dict(eight.weights))
    unrounded = RoundedStudent(again)
    for (name, layer), (_, other) in zip(unrounded.convolutions(), rounded.convolutions(), strict=True):
        torch.testing.assert_close(layer.weight, other.rounded_weight(), rtol=1e-5, atol=1e-7)
        assert eight.scales[name].shape == (len(layer.weight),)
    assert eight.told == "by a test"


def test_rounding_is_the_same_every_time(student: Student, pictures: Tensor) -> None:
    first, second = (logits(round_student(student, pictures), pictures) for _ in range(2))
    assert torch.equal(first, second)
