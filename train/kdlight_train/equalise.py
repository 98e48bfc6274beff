"""Channels of one map brought nearer to one another, so that 8 bits for the whole map serve them all.

A channel's values are divided by a factor where they are made, and the weights that read them multiplied by it. The
ReLU between commutes with a positive factor, so the float network answers the same (Nagel et al., ICCV 2019, who
equalise weights; here the weights have a scale a channel already, and the maps are what is equalised).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdlight_train.rounded import RoundedConv, RoundedStudent
from kdlight_train.spans import Span

LEAST, MOST = 0.5, 2.0
"""Factors: beyond these the weights that read the channels lose more than the map gains (by trial on the zoo)."""


class Stream(NamedTuple):
    """Maps that hold the same channels, because they are added to one another, and who makes and reads them."""

    maps: Sequence[str]
    makers: Sequence[RoundedConv]
    readers: Sequence[RoundedConv]


@torch.no_grad()
def equalise(network: RoundedStudent, spans: Mapping[str, Span]) -> None:
    """Rescale the channels of every map of an unrounded network but the last, which the float head reads."""
    for stream in streams(network):
        limits = torch.stack([spans[name].limits().clamp(min=1e-9).log() for name in stream.maps]).mean(dim=0).exp()
        factor = (limits / limits.median()).clamp(LEAST, MOST).float()
        for maker in stream.makers:
            maker.weight.div_(factor[:, None, None, None])
            maker.bias.div_(factor)
        for reader in stream.readers:
            reader.weight.mul_(_per_input(factor, reader))


def _per_input(factor: Tensor, reader: RoundedConv) -> Tensor:
    """Return the factor in the shape of the reader's weights: a depthwise one has its inputs in the first place."""
    return factor[:, None, None, None] if reader.groups > 1 else factor[None, :, None, None]


def streams(network: RoundedStudent) -> Iterator[Stream]:
    """Yield what can be rescaled, from the input to the last map."""
    layers = dict(network.convolutions())
    names, blocks = list(layers), network.blocks()
    for name, following in itertools.pairwise(names):
        if layers[name].relu and name != "last":
            yield Stream([f"{name}.relu"], [layers[name]], [layers[following]])
    start = 0
    for number in range(1, len(blocks) + 1):
        if number < len(blocks) and blocks[number].adds:
            continue
        stage = range(start, number)
        after = layers["last"] if number == len(blocks) else blocks[number].widen
        sums = [f"deep{one}.sum" for one in stage if blocks[one].adds]
        yield Stream(
            [*(f"deep{one}.narrow" for one in stage), *sums],
            [blocks[one].narrow for one in stage],
            [*(blocks[one].widen for one in stage if one > start), after],
        )
        start = number
