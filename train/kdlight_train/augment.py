"""Training pictures changed at random, a batch at a time on the training device, repeatable from a seed.

One affine resampling does crop, stretch, rotation and flips; what follows is arithmetic on the batch. All random
numbers come from one CPU generator, so that a seed gives the same picture on every device.
"""

import functools
import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Generator, Tensor
from torchvision.transforms.v2 import TrivialAugmentWide

from kdlight_train.recipe import AugmentRecipe

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue."""

NOISE = 1 << 22
"""Length of half the noise bank: more values than the largest picture of a recipe has."""


def augment(
    pictures: Tensor, target: Tensor, size: int, settings: AugmentRecipe, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return changed copies of a batch.

    Args:
        pictures: uint8 [N, 3, h, w].
        target: float [N, C], one-hot or soft.
        size: side of the result in pixels.
        settings: what may happen.
        generator: on the CPU.

    Returns:
        float32 [N, 3, size, size] in 0..1 and float [N, C], mixed alike.
    """
    device = pictures.device
    views = pictures.float().mul_(1 / 255)
    grid = F.affine_grid(_affine(len(pictures), settings, generator).to(device), [len(pictures), 3, size, size], False)  # noqa: FBT003
    views = F.grid_sample(views, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    views = _trivial(views, generator) if settings.trivial else views
    views = _soften(views, settings, generator)
    views = _light(views, settings, generator)
    views = _erase(views, settings, generator)
    if settings.cutmix > 0 and float(torch.rand(1, generator=generator)) < settings.cutmix:
        views, target = _paste(views, target, generator)
    elif settings.mixup > 0:
        views, target = _mix(views, target, settings.mixup, generator)
    return views.contiguous(memory_format=torch.channels_last), target


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _signs(count: int, generator: Generator) -> Tensor:
    return torch.randint(2, (count,), generator=generator) * 2.0 - 1.0


def _affine(count: int, settings: AugmentRecipe, generator: Generator) -> Tensor:
    """Draw float [count, 2, 3] maps from output to input coordinates (-1..1)."""
    area = _uniform(count, settings.scale[0], settings.scale[1], generator)
    stretch = torch.exp(_uniform(count, -1, 1, generator) * math.log(settings.stretch) / 2)
    angle = _uniform(count, -1, 1, generator) * math.radians(settings.rotate)
    if settings.quarter_turns:
        angle += torch.randint(4, (count,), generator=generator) * (math.pi / 2)
    across = area.sqrt() * stretch
    down = area.sqrt() / stretch
    across = across * _signs(count, generator) if settings.flip_horizontal else across
    down = down * _signs(count, generator) if settings.flip_vertical else down
    room_x, room_y = (1 - across.abs()).clamp(min=0), (1 - down.abs()).clamp(min=0)
    shift_x, shift_y = room_x * _uniform(count, -1, 1, generator), room_y * _uniform(count, -1, 1, generator)
    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([cos * across, -sin * down, shift_x], dim=1)
    low = torch.stack([sin * across, cos * down, shift_y], dim=1)
    return torch.stack([top, low], dim=1)


def _trivial(views: Tensor, generator: Generator) -> Tensor:
    """Change each picture in one way, drawn with its strength at random (Mueller and Hutter, ICCV 2021)."""
    change = TrivialAugmentWide()
    with torch.random.fork_rng(devices=[]):  # it draws from the global generator
        torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=generator)))
        return torch.stack([change(view) for view in views.mul(255).round_().to(torch.uint8)]).float().mul_(1 / 255)


def _soften(views: Tensor, settings: AugmentRecipe, generator: Generator) -> Tensor:
    """Take resolution from some pictures (to between a half and all of it) and add noise."""
    if settings.blur > 0:
        factor = float(_uniform(1, 0.5, 1.0, generator))
        chosen = torch.nonzero(torch.rand(len(views), generator=generator) < settings.blur).flatten().to(views.device)
        if len(chosen):
            small = F.interpolate(views[chosen], scale_factor=factor, mode="bilinear", antialias=True)
            views[chosen] = F.interpolate(small, size=views.shape[2:], mode="bilinear")
    if settings.noise > 0:
        deviation = _uniform(len(views), 0, settings.noise, generator).to(views.device)
        start = int(torch.randint(NOISE, (1,), generator=generator))
        bank = _noise_bank(views.device)[start : start + views[0].numel()].view_as(views[0])
        # One stretch of the bank for the whole batch, turned a little further for each picture: drawing numbers for
        # every pixel would take longer than all the rest of this file.
        shifts = torch.randint(views.shape[-1], (len(views),), generator=generator).tolist()
        for view, shift, level in zip(views, shifts, deviation, strict=True):
            view.add_(bank.roll(shift, dims=2) * level)
    return views


@functools.cache
def _noise_bank(device: torch.device) -> Tensor:
    """Return standard normal noise, float32, the same in every process."""
    return torch.randn(2 * NOISE, generator=Generator().manual_seed(0)).to(device)


def _light(views: Tensor, settings: AugmentRecipe, generator: Generator) -> Tensor:
    """Change brightness and contrast about each picture's mean, and saturation about its luma, in place."""
    shape = (len(views), 1, 1, 1)
    gain = _uniform(len(views), 1 - settings.brightness, 1 + settings.brightness, generator).view(shape)
    contrast = _uniform(len(views), 1 - settings.contrast, 1 + settings.contrast, generator).view(shape)
    gain, contrast = gain.to(views.device), contrast.to(views.device)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views.mul_(contrast * gain).add_(mean * (1 - contrast) * gain)
    if settings.saturation > 0:
        saturation = _uniform(len(views), 1 - settings.saturation, 1 + settings.saturation, generator).view(shape)
        luma = torch.tensordot(torch.tensor(LUMA, device=views.device), views, dims=([0], [1])).unsqueeze(1)
        views = torch.lerp(luma, views, saturation.to(views.device))
    return views.clamp_(0, 1)


def _erase(views: Tensor, settings: AugmentRecipe, generator: Generator) -> Tensor:
    """Replace a rectangle of 4 to 20 % of the area by the picture's mean (Zhong et al., AAAI 2020)."""
    side = views.shape[-1]
    for index in torch.nonzero(torch.rand(len(views), generator=generator) < settings.erase).flatten().tolist():
        area, ratio, left, top = torch.rand(4, generator=generator).tolist()
        root = side * math.sqrt(0.04 + 0.16 * area)
        width, height = int(root * (0.5 + ratio)), int(root / (0.5 + ratio))
        x, y = int(left * max(1, side - width)), int(top * max(1, side - height))
        patch = views[index, :, y : y + height, x : x + width]
        patch.copy_(views[index].mean(dim=(1, 2))[:, None, None].expand_as(patch))
    return views


def _mix(views: Tensor, target: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mix each picture with another of the batch (mixup; Zhang et al., ICLR 2018), the larger share first."""
    # Beta(a, a) from two gammas; torch's own sampler takes no generator, so the inverse power form is used: for
    # a <= 1, U^(1/a) / (U^(1/a) + V^(1/a)) given that the sum is at most 1 is Beta(a, a) (Johnk 1964).
    share = torch.ones(len(views))
    open_ = torch.ones(len(views), dtype=torch.bool)
    for _ in range(64):
        u = torch.rand(len(views), generator=generator).pow(1 / alpha)
        v = torch.rand(len(views), generator=generator).pow(1 / alpha)
        drawn = open_ & (u + v <= 1) & (u + v > 0)
        share = torch.where(drawn, u / (u + v), share)
        open_ &= ~drawn
    share = torch.maximum(share, 1 - share).to(views.device)
    other = torch.randperm(len(views), generator=generator).to(views.device)
    mixed = torch.lerp(views[other], views, share[:, None, None, None])
    return mixed, torch.lerp(target[other], target, share[:, None])


def _paste(views: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Put one rectangle of another picture of the batch into each (CutMix; Yun et al., ICCV 2019), labels by area."""
    side = views.shape[-1]
    share, middle_x, middle_y = torch.rand(3, generator=generator).tolist()
    half = side * math.sqrt(0.5 * share) / 2  # at most half of the picture, so that the first label leads
    left, right = (round(min(max(middle_x * side + step, 0), side)) for step in (-half, half))
    top, low = (round(min(max(middle_y * side + step, 0), side)) for step in (-half, half))
    other = torch.randperm(len(views), generator=generator).to(views.device)
    views[:, :, top:low, left:right] = views[other][:, :, top:low, left:right]
    kept = 1 - (right - left) * (low - top) / side**2
    return views, torch.lerp(target[other], target, kept)
