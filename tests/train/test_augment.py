"""Augmentation: repeatable, the same crop at every size, and never outside the range of a picture."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Generator, Tensor

from kdlight_train.augment import augment
from kdlight_train.recipe import AugmentRecipe

STILL = AugmentRecipe(
    scale=(1.0, 1.0), stretch=1.0, rotate=0.0, flip_horizontal=False, brightness=0.0, contrast=0.0, erase=0.0, mixup=0.0
)
WILD = AugmentRecipe(flip_vertical=True, quarter_turns=True, saturation=0.5, noise=0.05, blur=0.5, erase=0.5)


@pytest.fixture
def pictures() -> Tensor:
    small = torch.randint(0, 256, (8, 3, 6, 6), generator=Generator().manual_seed(1)).float()
    return F.interpolate(small, size=48, mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.fixture
def target() -> Tensor:
    return torch.eye(4)[torch.arange(8) % 4]


def run(pictures: Tensor, target: Tensor, size: int, settings: AugmentRecipe, seed: int = 5) -> tuple[Tensor, Tensor]:
    return augment(pictures, target, size, settings, Generator().manual_seed(seed))


def test_nothing_happens_when_nothing_may_happen(pictures: Tensor, target: Tensor) -> None:
    views, mixed = run(pictures, target, 48, STILL)
    torch.testing.assert_close(views, pictures.float() / 255, atol=1e-4, rtol=0)
    torch.testing.assert_close(mixed, target)


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(pictures: Tensor, target: Tensor) -> None:
    first, again, other = (run(pictures, target, 32, WILD, seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_values_stay_in_range_and_targets_stay_distributions(pictures: Tensor, target: Tensor) -> None:
    views, mixed = run(pictures, target, 32, WILD)
    assert views.shape == (8, 3, 32, 32)
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(8))


def test_teacher_and_student_get_the_same_crop_at_their_own_sizes(pictures: Tensor, target: Tensor) -> None:
    settings = dataclasses.replace(WILD, noise=0.0, blur=0.0, erase=0.0)
    large, small = run(pictures, target, 96, settings), run(pictures, target, 48, settings)
    shrunk = F.interpolate(large[0], size=48, mode="area")
    assert float((shrunk - small[0]).abs().mean()) < 0.01
    torch.testing.assert_close(large[1], small[1])


def test_noise_does_not_change_which_crop_is_taken(pictures: Tensor, target: Tensor) -> None:
    noisy = dataclasses.replace(STILL, noise=0.02, mixup=0.3)
    for size in (32, 64):
        torch.testing.assert_close(run(pictures, target, size, noisy)[1], run(pictures, target, 48, noisy)[1])


def test_a_flip_alone_is_the_mirrored_picture(pictures: Tensor, target: Tensor) -> None:
    views, _ = run(pictures, target, 48, dataclasses.replace(STILL, flip_horizontal=True))
    straight = pictures.float() / 255
    mirrored = [
        bool(torch.allclose(view, picture.flip(2), atol=1e-3)) for view, picture in zip(views, straight, strict=True)
    ]
    same = [bool(torch.allclose(view, picture, atol=1e-3)) for view, picture in zip(views, straight, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_mixing_keeps_the_larger_share_of_the_picture_itself(pictures: Tensor) -> None:
    own = torch.eye(8)
    _, mixed = run(pictures, own, 32, dataclasses.replace(STILL, mixup=0.4))
    assert bool((mixed.diagonal() >= 0.5).all())
    assert bool((mixed.diagonal() < 1).any())


@pytest.mark.parametrize("seed", range(6))
def test_a_pasted_rectangle_brings_its_share_of_the_label(seed: int) -> None:
    black_and_white = torch.tensor([0, 255] * 4, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 48, 48)
    settings = dataclasses.replace(STILL, cutmix=1.0)
    views, mixed = run(black_and_white.contiguous(), torch.eye(2)[torch.arange(8) % 2], 48, settings, seed)
    torch.testing.assert_close(views.mean(dim=(1, 2, 3)), mixed[:, 1], atol=1e-5, rtol=0)
    assert (mixed.max(dim=1).values >= 0.5).all()


def test_trivial_augment_changes_each_picture_and_repeats_with_the_seed(pictures: Tensor, target: Tensor) -> None:
    settings = dataclasses.replace(STILL, trivial=True)
    still = run(pictures, target, 48, STILL)[0]
    first, again, other = (run(pictures, target, 48, settings, seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float((first - still).abs().amax(dim=(1, 2, 3)).gt(0.02).sum()) >= 4  # one of its changes is none at all
