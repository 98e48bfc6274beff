"""Generated surfaces: the same each time, cracked where they say, and unlike one another."""

import numpy as np
import pytest

from kdlight_edge.surface import MATERIALS, render


@pytest.mark.parametrize("material", MATERIALS)
def test_the_same_seed_gives_the_same_surface_and_another_seed_another(material: str) -> None:
    first, again, other = (render(material, seed, (96, 64), crack_at=0.5) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("material", MATERIALS)
def test_a_surface_has_the_size_asked_for_and_is_neither_black_nor_white(material: str) -> None:
    surface = render(material, 1, (200, 150), view=128)
    assert surface.image.shape == (150, 200, 3)
    assert surface.mask.shape == (150, 200)
    assert 40 < surface.image.mean() < 215
    assert surface.image.std() > 4


@pytest.mark.parametrize("material", MATERIALS)
def test_a_sound_surface_has_an_empty_mask(material: str) -> None:
    assert not render(material, 1, (64, 64)).mask.any()


@pytest.mark.parametrize("material", MATERIALS)
def test_a_crack_is_dark_thin_and_runs_from_top_to_bottom(material: str) -> None:
    for seed in range(5):
        surface = render(material, seed, (256, 256), crack_at=0.5)
        inside = surface.mask == 255
        assert 0.003 < inside.mean() < 0.2
        grey = surface.image.mean(axis=2)
        assert grey[inside].mean() < grey[surface.mask == 0].mean() - 25
        assert surface.mask.any(axis=1).mean() > 0.9


def test_the_view_sets_the_scale_and_not_the_size() -> None:
    close, far = (render("brick", 2, (256, 256), view=view, crack_at=0.5).mask.mean() for view in (512, 128))
    assert close > 1.5 * far
