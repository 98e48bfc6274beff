"""The KDLight students: one family of small convolutional networks, whole in one file.

Made to be quantised and to run on few cores: ReLU only, dense 3x3 convolutions where maps are large, depthwise ones
where they are small, every width a multiple of 16, no squeeze-and-excite, no attention, no shuffle, no concatenation.
Between the last feature map and the logits stands one linear layer after the mean, so the class activation map
(Zhou et al., CVPR 2016) is exact: the logit is the mean of its map.

The input is uint8 RGB divided by 255 and nothing else. A mean is not subtracted: the first batch norm absorbs it, and
a pure scale folds exactly into the first convolution at export, borders included.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PIXEL_SCALE = 1 / 255
"""What turns a uint8 pixel into the network's input."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and depths of one member of the family."""

    stem: int
    dense: tuple[int, int]
    """Widths of the two dense stages, at strides 4 and 8."""
    deep: tuple[int, int]
    """Widths of the two inverted-bottleneck stages, at strides 16 and 32."""
    blocks: tuple[int, int]
    """Blocks in each of them."""
    feature: int
    """Width of the feature that the last linear layer reads."""
    expand: int = 4


STUDENTS = {
    "nano": Shape(16, (16, 32), (48, 64), (2, 2), 128),
    "small": Shape(16, (32, 48), (64, 112), (3, 2), 192),
    "base": Shape(16, (32, 64), (96, 144), (3, 2), 256),
    "paper": Shape(32, (48, 96), (144, 240), (4, 3), 384),
}
"""Name to shape. ``paper`` has the parameters of the 7.5 MB that the IJCNN 2025 paper states."""


class ConvNorm(nn.Sequential):
    """A convolution without bias, its batch norm, and a ReLU unless the output is linear."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs)]
        super().__init__(*layers, *([] if linear else [nn.ReLU(inplace=True)]))
        self.relu = not linear

    @property
    def convolution(self) -> nn.Conv2d:
        """The first of the three."""
        layer = self[0]
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - narrows the type of a Sequential's member
        return layer

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The second."""
        layer = self[1]
        assert isinstance(layer, nn.BatchNorm2d)  # noqa: S101 - as above
        return layer

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias with the batch norm folded in, float64 [outputs, inputs / groups, k, k] and [outputs].

        With gamma, beta, mean and variance of the norm: weight times gamma / sqrt(variance + eps), and
        beta - mean times the same factor as the bias.
        """
        norm = self.norm
        assert norm.running_var is not None  # noqa: S101 - it keeps them
        assert norm.running_mean is not None  # noqa: S101 - as above
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = norm.bias.double() - norm.running_mean.double() * factor
        return self.convolution.weight.double() * factor[:, None, None, None], bias


class Bottleneck(nn.Module):
    """Widen, filter depthwise, narrow (Sandler et al., CVPR 2018); the input is added where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.widen = ConvNorm(inputs, wide, 1)
        self.filter = ConvNorm(wide, wide, 3, stride, groups=wide)
        self.narrow = ConvNorm(wide, outputs, 1, linear=True)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, inputs, h, w] to [N, outputs, h / stride, w / stride]."""
        y: Tensor = self.narrow(self.filter(self.widen(x)))
        return x + y if self.adds else y


class Student(nn.Module):
    """One member of the family for a number of classes."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        first, second = shape.dense
        self.stem = ConvNorm(3, shape.stem, 3, 2)
        self.dense = nn.Sequential(ConvNorm(shape.stem, first, 3, 2), ConvNorm(first, second, 3, 2))
        blocks: list[nn.Module] = []
        width = second
        for outputs, depth in zip(shape.deep, shape.blocks, strict=True):
            for block in range(depth):
                blocks.append(Bottleneck(width, outputs, 1 if block else 2, shape.expand))
                width = outputs
        self.deep = nn.Sequential(*blocks)
        self.last = ConvNorm(width, shape.feature, 1)
        self.head = nn.Linear(shape.feature, classes)
        self.apply(_initialise)

    def features(self, x: Tensor) -> Tensor:
        """Map float [N, 3, H, W] in 0..1 to the last feature map, float [N, feature, H / 32, W / 32]."""
        y: Tensor = self.last(self.deep(self.dense(self.stem(x))))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, 3, H, W] in 0..1 to logits, float [N, classes]."""
        y: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return y


def _initialise(module: nn.Module) -> None:
    """He et al. (ICCV 2015) for what a ReLU follows, small weights for the head so that the first logits are near 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def make_student(name: str, classes: int) -> Student:
    """Return a fresh student by name of `STUDENTS`."""
    return Student(STUDENTS[name], classes)


def parameters(network: nn.Module) -> int:
    """Count parameters as they are deployed: batch norms folded, so one bias a convolution's output."""
    total = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() + module.out_channels
        elif isinstance(module, nn.Linear):
            total += sum(weight.numel() for weight in module.parameters())
    return total


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Count the multiply-adds of convolutions and linear layers for one picture of that size."""
    total = 0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            per_value = module.weight[0].numel()
            total += output[0].numel() * per_value
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        network(torch.zeros(1, 3, height, width, device=next(network.parameters()).device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
