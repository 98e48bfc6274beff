"""The gradient of a strided depthwise convolution is PyTorch's own, by another way."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_train import strided
from kdlight_train.strided import SpreadGradients


def gradients(convolution: nn.Module, image: Tensor, *, spread: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output and the gradients of the image and the weight, of a loss that weighs every value."""
    image = image.clone().requires_grad_()
    convolution.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        if spread:
            with SpreadGradients():
                output = convolution(image)
        else:
            output = convolution(image)
    weigh = torch.linspace(-1, 1, output.numel()).view_as(output)
    (output.float() * weigh).sum().backward()
    weight = next(iter(convolution.parameters())).grad
    assert image.grad is not None
    assert weight is not None
    return output.detach(), image.grad, weight.clone()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every convolution that is taken over."""
    found: list[int] = []
    apply = strided._Strided.apply

    def counted(*args: object) -> object:
        found.append(1)
        return apply(*args)

    monkeypatch.setattr(strided._Strided, "apply", counted)
    return found


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (6, 9)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (3, 0), (2, 0)])
def test_it_is_the_same_gradient(size: tuple[int, int], kernel: int, padding: int, taken: list[int]) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(24, 24, kernel, 2, padding, groups=24, bias=False)
    image = torch.randn(3, 24, *size).to(memory_format=torch.channels_last)
    ours, plain = (gradients(convolution, image, spread=spread) for spread in (True, False))
    assert taken == [1]
    for mine, theirs in zip(ours, plain, strict=True):
        # Of numbers with eight bits, added up in another order.
        torch.testing.assert_close(mine, theirs, rtol=2**-7, atol=2**-7 * float(theirs.abs().max()))
    exact = image.double().requires_grad_()
    output = F.conv2d(exact, convolution.weight.double(), None, 2, padding, 1, 24)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()  # type: ignore[no-untyped-call]
    assert exact.grad is not None
    assert float((ours[1] - exact.grad).norm() / exact.grad.norm()) < 2**-6


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 16, 3, 2, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 2, 2, groups=8, bias=False),
    ],
    ids=["stride 1", "not depthwise", "with a bias", "twice the channels", "dilated"],
)
def test_other_convolutions_are_left_alone(convolution: nn.Module, taken: list[int]) -> None:
    gradients(convolution, torch.randn(2, 8, 12, 12), spread=True)
    assert taken == []


def test_answers_and_other_number_formats_are_left_alone(taken: list[int]) -> None:
    convolution, image = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), torch.randn(2, 8, 12, 12)
    with SpreadGradients():
        assert convolution(image).dtype == torch.float32
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            convolution(image)
    assert taken == []


def test_weights_that_are_kept_get_no_gradient(taken: list[int]) -> None:
    convolution = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False).requires_grad_(requires_grad=False)
    image = torch.randn(2, 8, 12, 12, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), SpreadGradients():
        convolution(image).sum().backward()
    assert taken == [1]
    assert image.grad is not None
    assert convolution.weight.grad is None
