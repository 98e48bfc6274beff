"""The student as INT8 runs it: batch norms folded, and every weight and feature map through the 8 bits of the export.

Rounding passes gradients on as if it were not there (Bengio et al., 2013), so that the network can also be trained.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_train.eight_bits import WEIGHT_STEPS, ZERO, Range
from kdlight_train.student import Bottleneck, ConvNorm, Student


class RoundedMap(nn.Module):
    """A feature map on its way from one layer to the next: through uint8 where a range is known, else as it is."""

    limit: Tensor

    def __init__(self, *, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.register_buffer("limit", torch.zeros(()))

    @property
    def range(self) -> Range:
        """Return what the 8 bits span; a limit of 0 is no range."""
        return Range(float(self.limit), self.signed)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, C, h, w] to the same, rounded."""
        if not self.limit:
            return x
        zero = ZERO if self.signed else 0
        return torch.fake_quantize_per_tensor_affine(x, self.range.scale, zero, 0, 255)


class RoundedConv(nn.Module):
    """A convolution with its batch norm folded in, its ReLU, and the map that it gives."""

    scale: Tensor

    def __init__(self, layer: ConvNorm) -> None:
        super().__init__()
        convolution, (weight, bias) = layer.convolution, layer.folded()
        self.weight = nn.Parameter(weight.float().detach())
        self.bias = nn.Parameter(bias.float().detach())
        self.register_buffer("scale", torch.zeros(len(weight)))
        self.side, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.groups = convolution.groups
        self.relu = layer.relu
        self.map = RoundedMap(signed=not self.relu)

    def rounded_weight(self) -> Tensor:
        """Return the weights on their grid, float [out, in / groups, k, k]; as they are where no scale is known."""
        if not self.scale.any():
            return self.weight
        zeros = torch.zeros(len(self.scale), dtype=torch.int32, device=self.scale.device)
        return torch.fake_quantize_per_channel_affine(self.weight, self.scale, zeros, 0, -WEIGHT_STEPS, WEIGHT_STEPS)

    def linear(self, x: Tensor) -> Tensor:
        """Return what the convolution gives before its ReLU and its 8 bits."""
        return F.conv2d(x, self.rounded_weight(), self.bias, self.stride, self.side // 2, groups=self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, in, h, w] to float [N, out, h / stride, w / stride]."""
        y = self.linear(x)
        result: Tensor = self.map(F.relu(y) if self.relu else y)
        return result


class RoundedBlock(nn.Module):
    """An inverted bottleneck; its sum is a map of its own."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.widen, self.filter = RoundedConv(block.widen), RoundedConv(block.filter)
        self.narrow = RoundedConv(block.narrow)
        self.adds = block.adds
        self.sum = RoundedMap(signed=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, in, h, w] to float [N, out, h / stride, w / stride]."""
        y = self.narrow(self.filter(self.widen(x)))
        result: Tensor = self.sum(x + y) if self.adds else y
        return result


class RoundedStudent(nn.Module):
    """A student with the names of the exported graph; the last linear layer stays in float."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.stem = RoundedConv(student.stem)
        self.dense = nn.ModuleList(RoundedConv(layer) for layer in student.dense if isinstance(layer, ConvNorm))
        self.deep = nn.ModuleList(RoundedBlock(block) for block in student.deep if isinstance(block, Bottleneck))
        self.last = RoundedConv(student.last)
        self.head = nn.Linear(student.head.in_features, student.head.out_features)
        self.head.load_state_dict(student.head.state_dict())

    def convolutions(self) -> Iterator[tuple[str, RoundedConv]]:
        """Yield every convolution with its name in the graph, in order."""
        yield "stem", self.stem
        for number, layer in enumerate(self.dense):
            assert isinstance(layer, RoundedConv)  # noqa: S101 - narrows the type of a list's member
            yield f"dense{number}", layer
        for number, block in enumerate(self.blocks()):
            for part in ("widen", "filter", "narrow"):
                yield f"deep{number}.{part}", getattr(block, part)
        yield "last", self.last

    def blocks(self) -> list[RoundedBlock]:
        """Return the bottlenecks in order."""
        return [block for block in self.deep if isinstance(block, RoundedBlock)]

    def maps(self) -> dict[str, RoundedMap]:
        """Return every feature map by its name in the graph."""
        found = {f"{name}.relu" if layer.relu else name: layer.map for name, layer in self.convolutions()}
        return {**found, **{f"deep{number}.sum": block.sum for number, block in enumerate(self.blocks()) if block.adds}}

    def features(self, x: Tensor) -> Tensor:
        """Map float [N, 3, H, W] in 0..1 to the last feature map, float [N, feature, H / 32, W / 32]."""
        x = self.stem(x)
        for layer in [*self.dense, *self.deep]:
            x = layer(x)
        result: Tensor = self.last(x)
        return result

    def forward(self, x: Tensor, *, maps: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Map float [N, 3, H, W] in 0..1 to logits, float [N, classes], and on demand the last feature map as well."""
        features = self.features(x)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return (logits, features) if maps else logits


@dataclass(frozen=True, slots=True)
class EightBits:
    """The numbers of an INT8 file."""

    weights: Mapping[str, Tensor]
    """State of a `Student` whose weights lie on their grids and whose batch norms only add the bias."""
    scales: Mapping[str, npt.NDArray[np.float32]]
    """Convolution to the worth of one step of its weights, float32 [out]."""
    ranges: Mapping[str, Range]
    """Feature map to what its 8 bits span."""
    told: str = ""
    """How they were found, for people."""


@torch.no_grad()
def numbers_of(network: RoundedStudent, student: Student, told: str) -> EightBits:
    """Return a rounded network as the numbers that the export writes.

    Args:
        network: with scales and ranges.
        student: any student of the same member and classes; its weights are replaced.
        told: how the numbers were found.
    """
    layers = [student.stem, *student.dense]
    for block in student.deep:
        layers += [block.get_submodule(part) for part in ("widen", "filter", "narrow")]
    for layer, (_, rounded) in zip([*layers, student.last], network.convolutions(), strict=True):
        assert isinstance(layer, ConvNorm)  # noqa: S101 - narrows the type of a Sequential's member
        put(layer, rounded.rounded_weight(), rounded.bias)
    student.head.load_state_dict(network.head.state_dict())
    return EightBits(
        {key: value.detach().cpu().clone() for key, value in student.state_dict().items()},
        {name: layer.scale.cpu().numpy().copy() for name, layer in network.convolutions()},
        {name: found.range for name, found in network.maps().items()},
        told,
    )


@torch.no_grad()
def put(layer: ConvNorm, weight: Tensor, bias: Tensor) -> None:
    """Give a layer folded weights: its batch norm becomes the identity with a bias, which folds back exactly."""
    norm = layer.norm
    layer.convolution.load_state_dict({"weight": weight})
    ones = torch.ones_like(bias)
    norm.load_state_dict(
        {"weight": ones, "bias": bias, "running_mean": 0 * ones, "running_var": (1 - norm.eps) * ones}, strict=False
    )
