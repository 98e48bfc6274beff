"""Pictures that no subject made: static, bars, letters and torn blocks, as cables, decoders and operators make them.

A camera that lost its signal shows one of them, and a network that never saw any may take it for a rough surface. They
are generated, so every student can be shown them, whatever terms other pictures are under.
"""

import string
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Input
from kdlight_edge.prepare import prepare_input

Images = npt.NDArray[np.uint8]

EACH = 75
"""Pictures of a kind."""

LARGEST = 4.0
"""Sides of the largest picture, in sides of the network's input: those of a camera are made smaller for it."""

BARS = 16
"""Bars along a side, at most."""

CONTRAST = 64
"""Grey levels between the darkest and the brightest at least."""


def patterns(spec: Input, seed: int = 0) -> dict[str, Images]:
    """Return `EACH` pictures of every kind as the network's input would show them, uint8 [n, H, W, 3]."""
    rng = np.random.default_rng(seed)
    return {
        kind.__name__: np.stack([_shown(kind, spec, rng) for _ in range(EACH)])
        for kind in (static, bars, letters, torn)
    }


def _shown(kind: Callable[[np.random.Generator, int, int], Images], spec: Input, rng: np.random.Generator) -> Images:
    larger = rng.uniform(1.0, LARGEST)
    picture = kind(rng, round(spec.height * larger), round(spec.width * larger))
    return prepare_input(_lit(picture, rng), spec)


def static(rng: np.random.Generator, height: int, width: int) -> Images:
    """Return noise in grains of one to eight pixels along either side; half of it is of two levels, as snow is."""
    down, across = 2 ** rng.integers(0, 4, 2)
    noise = rng.integers(0, 256, (-(-height // down), -(-width // across), 3), dtype=np.uint8)
    if rng.integers(2):
        noise = np.where(noise < 128, 0, 255).astype(np.uint8)  # noqa: PLR2004 - the middle
    return _sized(noise, height, width)


def bars(rng: np.random.Generator, height: int, width: int) -> Images:
    """Return colour bars, stripes and checks."""
    rows, columns = rng.integers(1, BARS, 2) * ((1, 0), (0, 1), (1, 1))[rng.integers(3)] + 1
    colours = rng.integers(0, 256, (BARS, 3), dtype=np.uint8)
    colours[:2] = ((0, 0, 0), (255, 255, 255))  # so that no two neighbours are all there is and alike
    cells = np.add.outer(np.arange(rows), np.arange(columns)) % rng.integers(2, BARS)
    return _sized(colours[cells], height, width)


def letters(rng: np.random.Generator, height: int, width: int) -> Images:
    """Return a page of words, dark on light or light on dark."""
    page = np.full((height, width, 3), 255, np.uint8)
    size = rng.uniform(0.3, max(0.4, height / 120))  # of letters: three lines at least
    step = round(30 * size)
    for bottom in range(step, height, step):
        words = "".join(rng.choice(list(string.ascii_letters + string.digits + "    "), 80))
        cv2.putText(page, words, (4, bottom), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1 + round(size))
    return 255 - page if rng.integers(2) else page


def torn(rng: np.random.Generator, height: int, width: int) -> Images:
    """Return what a decoder makes of a broken stream: flat blocks, and rows that go on as the one above them."""
    side = int(2 ** rng.integers(3, 6))
    blocks = _sized(rng.integers(0, 256, (-(-height // side), -(-width // side), 3), dtype=np.uint8), height, width)
    below = int(rng.integers(height // 4, height))
    blocks[below:] = blocks[below - 1]
    return blocks


def _sized(cells: Images, height: int, width: int) -> Images:
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _lit(picture: Images, rng: np.random.Generator) -> Images:
    """Make half of the pictures grey, and give each a darkest and a brightest level."""
    if rng.integers(2):
        picture = picture[..., :1].repeat(3, axis=2)
    dark = rng.uniform(0, 255 - CONTRAST)
    levels = np.linspace(dark, rng.uniform(dark + CONTRAST, 255), 256).astype(np.uint8)
    return np.ascontiguousarray(levels[picture])
