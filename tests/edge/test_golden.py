"""Golden pictures are the same bytes everywhere, and the fake source gives what it was given."""

import hashlib

import numpy as np

from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.golden import golden_picture
from tests.edge.fakes import FakeSource


def test_golden_pictures_are_the_bytes_that_bundles_were_exported_with() -> None:
    """A change here would make every bundle ever exported fail its own check."""
    seal = hashlib.sha256(b"".join(golden_picture(seed).tobytes() for seed in range(40))).hexdigest()
    assert seal == "77c1357eaecc43fa6b0a3f241a8ff913b2e110206c5783524047b79d2fefae1a"


def test_a_golden_picture_is_neither_square_nor_flat() -> None:
    picture = golden_picture(1)
    assert (picture.shape, picture.dtype) == ((192, 256, 3), np.dtype(np.uint8))
    assert picture.flags.c_contiguous
    assert picture.std() > 20
    assert not np.array_equal(picture, golden_picture(2))


def test_a_fake_source_gives_pictures_and_gaps_in_order_until_it_is_closed() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    source = FakeSource([picture, "lens cap", picture])
    first, second, third = source
    assert isinstance(first, Frame)
    assert isinstance(second, Unreadable)
    assert (second.reason, second.index, third.index) == ("lens cap", 1, 2)
    source.close()
    source.close()
    assert list(source) == []
