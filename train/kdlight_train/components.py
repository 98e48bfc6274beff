"""The teacher's last feature map in few principal components, which a student can be taught place by place."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_edge.errors import UsageError
from kdlight_train.place import Place

COMPONENTS = 128
"""Principal components of the teacher's features that are taught: what is left out is a small share, and told."""


@dataclass(frozen=True)
class Components:
    """A linear map from the teacher's features to their components, scaled so that the total variance is 1."""

    mean: Tensor
    """float [D]."""
    basis: Tensor
    """float [128, D], orthonormal rows, divided by the root of the total variance."""
    kept: float
    """Share of the teacher's variance that the components hold."""

    def __call__(self, maps: Tensor, cells: tuple[int, int]) -> Tensor:
        """Return float [N, 128, *cells] of feature maps, float [N, D, h, w]."""
        centred = F.adaptive_avg_pool2d(maps, cells) - self.mean[:, None, None]
        return torch.einsum("nchw,kc->nkhw", centred, self.basis)


def fit_components(rows: Tensor) -> Components:
    """Find the principal components of features, float [n, D]."""
    rows = rows.double()
    mean = rows.mean(dim=0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    count = min(COMPONENTS, len(values))
    basis = vectors.flip(1)[:, :count].T / values.sum().clamp(min=1e-12).sqrt()
    kept = float(values.flip(0)[:count].sum() / values.sum().clamp(min=1e-12))
    return Components(mean.float(), basis.float(), kept)


def unexplained(given: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared distance of components, float [N, k, h, w], in units of the teacher's variance, a scalar."""
    return (given - wanted.float()).square().sum(dim=1).mean()


def feature_part(network: nn.Module, name: str) -> nn.Module:
    """Return the convolutions of a torchvision classifier.

    Raises:
        UsageError: it keeps no feature map of its own.
    """
    convolutions = getattr(network, "features", None)
    if not isinstance(convolutions, nn.Module):
        raise UsageError(f"--teacher {name} has no feature map of its own; mobilenet_v2 has one")
    return convolutions


class Normalised(nn.Module):
    """Convolutions behind the teacher's normalisation of colours."""

    mean: Tensor
    std: Tensor

    def __init__(self, convolutions: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, 3, h, w] in 0..1 to the feature map, float [N, D, h / 32, w / 32]."""
        y: Tensor = self.convolutions((x - self.mean) / self.std)
        return y


Maps = Callable[[Tensor], Tensor]


def maps_with(network: nn.Module, place: Place) -> Maps:
    """Return a function from pictures, float [N, 3, h, w] in 0..1, to float32 feature maps."""

    def maps(pictures: Tensor) -> Tensor:
        with place.autocast(on_cpu=True):
            y: Tensor = network(pictures)
        return y.float()

    return maps
