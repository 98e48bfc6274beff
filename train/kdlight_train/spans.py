"""What every feature map of a student spans, seen on calibration pictures, and the limits that 8 bits are best given.

Errors are counted relative to what a picture has in the map, so that one picture counts as one picture: a student may
answer an odd one with activations a hundred times the usual, and a plain sum would give the 8 bits to that one alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlight_train.eight_bits import SIGNED_STEPS, UNSIGNED_STEPS
from kdlight_train.rounded import RoundedMap, RoundedStudent
from kdlight_train.student import PIXEL_SCALE

BINS = 512
"""Of a histogram of magnitudes, evenly spaced by their logarithm: 2.3 % apart."""

DECADES = 1e5
"""Largest magnitude by the smallest that is told from zero."""

CUTS, LOWEST = 160, 1 / 4096
"""Limits tried, and the lowest as a share of the largest magnitude."""

BATCH = 16
"""Pictures a pass."""


@dataclass(slots=True)
class Span:
    """What was seen of one map."""

    peak: float
    """Largest magnitude."""
    signed: bool
    counts: Tensor
    """float64 [channels, BINS]: values by magnitude, each weighing 1 by the mean square of its picture's map."""

    def limit(self) -> float:
        """Return the limit with the smallest mean square error of rounding and clipping together."""
        return float(self._best(self.counts.sum(dim=0, keepdim=True))[0])

    def limits(self) -> Tensor:
        """Return the same for each channel as if it had 8 bits of its own, float64 [channels]."""
        return self._best(self.counts)

    def _best(self, counts: Tensor) -> Tensor:
        magnitudes = self.peak * DECADES ** ((torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS - 1)
        magnitudes[0] = 0
        cuts = self.peak * LOWEST ** (1 - torch.linspace(0, 1, CUTS, dtype=torch.float64))
        step = cuts / (SIGNED_STEPS if self.signed else UNSIGNED_STEPS)
        clipped = (magnitudes - cuts[:, None]).clamp(min=0).square()
        rounded = torch.minimum(magnitudes.square(), (step.square() / 12)[:, None])
        costs = torch.where(magnitudes > cuts[:, None], clipped, rounded)
        return cuts[(counts @ costs.T).argmin(dim=1)]


@torch.no_grad()
def spans_of(network: RoundedStudent, pictures: Tensor) -> Mapping[str, Span]:
    """Run an unrounded network over pictures, uint8 [n, 3, h, w], twice: for the peaks, then for the counts."""
    spans: dict[str, Span] = {}

    def meet(name: str, values: Tensor) -> None:
        span = spans.setdefault(name, Span(1e-6, signed=False, counts=torch.zeros(0)))
        span.peak = max(span.peak, float(values.abs().max()))
        span.signed |= bool(values.min() < 0)

    def count(name: str, values: Tensor) -> None:
        span = spans[name]
        found = _counts(values, span.peak)
        span.counts = found if not len(span.counts) else span.counts + found

    for look in (meet, count):
        with _watched(network.maps(), look):
            for part in pictures.split(BATCH):  # type: ignore[no-untyped-call]
                network(part.float() * PIXEL_SCALE)
    return spans


def _counts(values: Tensor, peak: float) -> Tensor:
    """Return float64 [C, BINS] of a map, float [N, C, h, w]."""
    count, channels = values.shape[:2]
    sizes = values.abs().reshape(count, channels, -1)
    weight = 1 / sizes.double().square().mean(dim=(1, 2)).clamp(min=1e-12)
    share = (sizes.clamp(min=1e-12).log() - torch.tensor(peak / DECADES).log()) / torch.tensor(DECADES).log()
    places = (share * BINS).floor_().clamp_(0, BINS - 1).long() + torch.arange(channels)[None, :, None] * BINS
    return torch.bincount(
        places.flatten(), weight[:, None, None].expand(places.shape).flatten(), minlength=channels * BINS
    ).view(channels, BINS)


@contextmanager
def _watched(maps: Mapping[str, RoundedMap], look: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show every map to ``look(name, values)`` while the network runs."""
    hooks = [
        one.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, one in maps.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
