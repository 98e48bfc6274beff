"""A trained student to 8 bits without training: ranges, equal channels, and weights rounded to what the layer gave.

A weight is not rounded to its nearest step but so that, together with those after it, the layer's outputs on
calibration pictures stay near those of the float weights; the bias, in float, takes up what is left (Frantar et al.,
OPTQ, ICLR 2023, after Hassibi and Stork's optimal brain surgeon, 1993). Each layer reads what the rounded layers before
it give.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor

from kdlight_train.eight_bits import WEIGHT_STEPS
from kdlight_train.equalise import equalise
from kdlight_train.rounded import RoundedConv, RoundedStudent
from kdlight_train.spans import BATCH, spans_of
from kdlight_train.student import PIXEL_SCALE, Student

DAMPING = 0.01
"""How strongly the float weights hold on, as a share of the mean square of an input."""

PLACES = 64
"""Places of a picture's map, at most, that the layer's inputs are looked at."""

CLIPS = torch.linspace(0.6, 1, 21, dtype=torch.float64)
"""Shares of a channel's largest weight that its steps may span."""


def round_student(student: Student, pictures: Tensor) -> RoundedStudent:
    """Return the student with scales, ranges and weights of 8 bits.

    Args:
        student: in float, in evaluation mode, on the CPU.
        pictures: to calibrate on, uint8 [n, 3, H, W].
    """
    network = RoundedStudent(student).eval().requires_grad_(requires_grad=False)
    equalise(network, spans_of(network, pictures))
    for name, span in spans_of(network, pictures).items():
        found = network.maps()[name]
        found.signed = span.signed
        found.limit.fill_(span.limit())
    with torch.no_grad():
        _round_weights(network, pictures.float() * PIXEL_SCALE)
    return network


def _round_weights(network: RoundedStudent, x: Tensor) -> None:
    """Round layer after layer; each sees what the rounded layers before it give."""
    for layer in [network.stem, *network.dense]:
        x = _step(layer, x)
    for block in network.blocks():
        y = x
        for part in (block.widen, block.filter, block.narrow):
            y = _step(part, y)
        x = _passed(block.sum, x + y) if block.adds else y
    _step(network.last, x)


def _step(layer: RoundedConv, x: Tensor) -> Tensor:
    """Round one layer and return what it hands on."""
    round_layer(layer, moments(layer, x))
    return _passed(layer, x)


def _passed(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.cat([layer(part) for part in x.split(BATCH)])  # type: ignore[no-untyped-call]


def moments(layer: RoundedConv, x: Tensor) -> Tensor:
    """Return the second moments of a layer's inputs and of a constant 1 behind them, which the bias reads.

    A dense layer is one group, a depthwise one has a group a channel. Each picture weighs the same: its inputs are
    divided by the root mean square of its outputs.

    Args:
        layer: not yet rounded.
        x: its inputs, float [n, in, h, w].

    Returns:
        float64 [groups, d, d], d being one more than an output has weights.
    """
    groups, size = layer.groups, layer.weight[0].numel() + 1
    total = torch.zeros(groups, size, size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for part in x.split(BATCH):  # type: ignore[no-untyped-call]
        weight = layer.linear(part).square().mean(dim=(1, 2, 3)).clamp(min=1e-12).rsqrt()[:, None, None]
        fields = F.unfold(part, layer.side, padding=layer.side // 2, stride=layer.stride)
        places = torch.randperm(fields.shape[2], generator=generator)[:PLACES]
        rows = (fields[:, :, places] * weight).view(len(part), groups, size - 1, len(places))
        one = weight[:, None].expand(-1, groups, 1, len(places))
        flat = torch.cat([rows, one], dim=2).permute(1, 2, 0, 3).reshape(groups, size, -1)
        total += (flat @ flat.mT).double()
    return total


def round_layer(layer: RoundedConv, seen: Tensor) -> None:
    """Set the layer's weights (on their grid), scales and bias, given its `moments`."""
    groups, size = seen.shape[:2]
    weight = layer.weight.double().reshape(groups, -1, size - 1)
    scale = _scale(weight)
    free = torch.cat([weight, layer.bias.double().reshape(groups, -1, 1)], dim=2)
    diagonal = seen.diagonal(dim1=1, dim2=2)
    hold = (DAMPING * diagonal[:, :-1].mean(dim=1)).maximum(1e-6 * diagonal[:, -1])[:, None].repeat(1, size)
    hold[:, -1] = 1e-9 * diagonal[:, -1]
    # Row i of the factor tells how the error of weight i is best spread over those after it.
    factor = torch.linalg.cholesky(torch.linalg.inv(seen + torch.diag_embed(hold))).mT
    for place in range(size - 1):
        column = free[:, :, place].clone()
        free[:, :, place] = (column / scale).round().clamp(-WEIGHT_STEPS, WEIGHT_STEPS) * scale
        error = (column - free[:, :, place]) / factor[:, None, place, place]
        free[:, :, place + 1 :] -= error[:, :, None] * factor[:, None, place, place + 1 :]
    layer.weight.copy_(free[:, :, :-1].reshape(layer.weight.shape))
    layer.bias.copy_(free[:, :, -1].flatten())
    layer.scale.copy_(scale.flatten())


def _scale(weight: Tensor) -> Tensor:
    """Return the step with the smallest square error for each output, float64 [groups, outputs]."""
    peaks = weight.abs().amax(dim=2)
    # A channel of zeros has no scale of its own; any will do.
    peaks = torch.where(peaks > 0, peaks, WEIGHT_STEPS)
    scales = CLIPS[:, None, None] * peaks / WEIGHT_STEPS
    steps = (weight / scales[..., None]).round().clamp(-WEIGHT_STEPS, WEIGHT_STEPS)
    errors = (steps * scales[..., None] - weight).square().sum(dim=3)
    return scales.gather(0, errors.argmin(dim=0, keepdim=True))[0]
