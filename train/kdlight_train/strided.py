"""The gradient of a depthwise convolution with a stride, for bfloat16 on a CPU, where PyTorch's own is slow.

It is the gradient of the same convolution with stride 1 whose output was looked at in every second place only: the
gradient that comes in is laid out with zeros between, and the kernel of stride 1, which is fast, does the rest. With a
stride it takes more than a third of MobileNetV2's training (scripts/measure_training.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SpreadGradients(TorchFunctionMode):
    """A context in which strided depthwise convolutions of bfloat16 are given the gradient above."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over what `nn.Conv2d` calls, where it is meant; anything else goes its way."""
        del types
        if function is F.conv2d and torch.is_grad_enabled() and not kwargs and _meant(*args):
            image, weight, _, stride, padding, _, groups = args
            return _Strided.apply(image.bfloat16(), weight.bfloat16(), stride, padding, groups)
        return function(*args, **(kwargs or {}))


def _meant(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Tell whether it is depthwise, strided, and about to be computed in bfloat16."""
    depthwise = bias is None and groups == image.shape[1] == weight.shape[0] > 1
    return depthwise and (stride, dilation) == ((2, 2), (1, 1)) and isinstance(padding, tuple) and _in_bfloat16(image)


def _in_bfloat16(image: Tensor) -> bool:
    kind = image.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind) == torch.bfloat16
    return image.dtype == torch.bfloat16


class _Strided(torch.autograd.Function):
    """A depthwise convolution, bfloat16 [N, C, h, w] by [C, 1, k, k], without a bias."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], groups: int
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(image, weight, None, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (image, weight), (given,) = ctx.saved_tensors, gradients
        to_image = to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = _gradient(given, image, weight, ctx.stride, ctx.padding, of_image=False)
        if ctx.needs_input_grad[0]:
            sides = zip(image.shape[2:], weight.shape[2:], ctx.padding, strict=True)
            height, width = (side + 2 * pad - kernel + 1 for side, kernel, pad in sides)
            shape = (*given.shape[:2], height, width)
            spread = torch.empty(shape, dtype=given.dtype, memory_format=torch.channels_last).zero_()
            spread[:, :, :: ctx.stride[0], :: ctx.stride[1]] = given
            to_image = _gradient(spread, image, weight, (1, 1), ctx.padding, of_image=True)
        return to_image, to_weight, None, None, None


def _gradient(
    given: Tensor, image: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], *, of_image: bool
) -> Tensor:
    """Return the gradient of one of the two, by PyTorch's own kernel."""
    mask = [of_image, not of_image, False]
    transposed = False
    found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
        given, image, weight, None, stride, padding, (1, 1), transposed, (0, 0), len(weight), mask
    )
    return found[0 if of_image else 1]
