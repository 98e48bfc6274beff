"""Surfaces that nobody photographed: concrete, brick and asphalt from seeded noise, sound or with a crack."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

MATERIALS = ("concrete", "brick", "asphalt")

UNIT = 256
"""Lengths below are in pixels of a view of this many pixels; `render` scales them to the view it is asked for."""

Plane = npt.NDArray[Any]
"""float32 [h, w], or [h, w, 3] where it has colour."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A rendered surface and where it is cracked."""

    image: npt.NDArray[np.uint8]
    """uint8 [h, w, 3], RGB."""
    mask: npt.NDArray[np.uint8]
    """uint8 [h, w]: 255 inside a crack, 0 outside, between at its edge."""


@dataclass(frozen=True, slots=True)
class _Noise:
    """The random patterns of one surface; lengths in units."""

    rng: np.random.Generator
    height: int
    width: int
    unit: float

    def clouds(self, cell: float, stretch: float = 1.0) -> Plane:
        """Return smooth noise of mean 0, its features ``cell`` high and ``stretch`` times as wide."""
        rows = max(2, math.ceil(self.height / (cell * self.unit)) + 1)
        columns = max(2, math.ceil(self.width / (cell * self.unit * stretch)) + 1)
        grid = self.rng.standard_normal((rows, columns), np.float32) * np.float32(1.35)
        return cv2.resize(grid, (self.width, self.height), interpolation=cv2.INTER_CUBIC)

    def specks(self, share: float, radius: float) -> Plane:
        """Return soft dots, 0 to 1, that cover about ``share`` of the plane."""
        dots = np.zeros((self.height, self.width), np.uint8)
        radius *= self.unit
        count = int(share * dots.size / (math.pi * radius * radius))
        centres = (self.rng.random((count, 2)) * (self.width, self.height) * 16).astype(int)
        axes = (radius * 16 * (0.5 + self.rng.random((count, 2)))).astype(int)
        for centre, axis, angle in zip(centres.tolist(), axes.tolist(), self.rng.random(count) * 180, strict=True):
            cv2.ellipse(dots, centre, axis, float(angle), 0, 360, 255, -1, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(dots, (0, 0), 0.3 * radius + 0.2).astype(np.float32) / np.float32(255)


def render(material: str, seed: int, size: tuple[int, int], *, view: int = 0, crack_at: float | None = None) -> Surface:
    """Render a surface; the same arguments give the same picture.

    Args:
        material: one of `MATERIALS`.
        seed: of everything that is random in it.
        size: width and height in pixels.
        view: pixels that a camera sees at once, which sets the scale of grain, bricks and cracks; 0 for the height.
        crack_at: where across the surface, 0 to 1, a crack runs from top to bottom; None for a sound surface.
    """
    rng = np.random.default_rng((seed, MATERIALS.index(material)))
    width, height = size
    noise = _Noise(rng, height, width, (view or height) / UNIT)
    image = {"concrete": _concrete, "brick": _brick, "asphalt": _asphalt}[material](noise)
    mask = np.zeros((height, width), np.uint8)
    if crack_at is not None:
        _draw_crack(rng, mask, crack_at * width, noise.unit * (2.4 if material == "brick" else 1.0))
        image = _open_crack(noise, image, mask)
    image *= _light(noise)[..., np.newaxis]
    image += 2.2 * noise.clouds(1.5 / noise.unit)[..., np.newaxis]  # the sensor's own grain, in its own pixels
    blurred = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (0, 0), 0.35 + 0.25 * noise.unit)
    return Surface(blurred, mask)


def _concrete(noise: _Noise) -> Plane:
    """Paint cast or trowelled concrete: clouds of tone, aggregate, pores, stains that ran down, board marks."""
    rng, rough = noise.rng, noise.rng.random()
    tone = rng.uniform(112, 188) + 7 * noise.clouds(90) + 4 * noise.clouds(24) + 4 * rough * noise.clouds(7)
    tone += (2.5 + 8 * rough) * noise.clouds(2.2) + (1.5 + 6 * rough) * noise.clouds(1.1)
    tone += 5 * rng.integers(0, 2) * noise.clouds(5, stretch=30)
    tone -= 16 * rng.random() * np.clip(noise.clouds(160, stretch=0.25) - 0.7, 0, 1.5)
    tone -= (35 + 25 * rng.random()) * noise.specks(0.006 + 0.012 * rng.random(), 1.5)
    tone += 22 * rough * noise.specks(0.02, 2.2)
    return _tinted(tone, np.array([1.0, 0.985, 0.95]) + rng.uniform(-0.02, 0.02, 3))


def _asphalt(noise: _Noise) -> Plane:
    """Paint a road: stones of every grey in dark binder, worn and dusty in places."""
    rng = noise.rng
    tone = rng.uniform(98, 142) + 3 * noise.clouds(110) + 2.5 * noise.clouds(30)
    grain = 5 * noise.clouds(4.5) + 6 * noise.clouds(2.4) + 4 * noise.clouds(1.3)
    tone += (0.8 + 0.5 * rng.random()) * grain
    tone += (18 + 22 * rng.random()) * noise.specks(0.03, 1.7)
    tone -= 18 * noise.specks(0.03, 2.0)
    return _tinted(tone, np.array([0.99, 1.0, 1.01]) + rng.uniform(-0.05, 0.05) * np.array([1, 0, -1]))


def _brick(noise: _Noise) -> Plane:
    """Paint a wall: burnt bricks of many shades, chipped edges, rough light mortar in the shade of the brick above."""
    rng, unit = noise.rng, noise.unit
    tall, joint = rng.uniform(52, 92) * unit, rng.uniform(11, 20) * unit
    wide = tall * rng.uniform(2.2, 2.9)
    y, x = np.mgrid[0 : noise.height, 0 : noise.width].astype(np.float32)
    y += rng.uniform(0, tall) + unit * (0.9 * noise.clouds(40) + 0.6 * noise.clouds(9) + 0.4 * noise.clouds(3))
    x += rng.uniform(0, wide) + unit * (0.9 * noise.clouds(40) + 0.6 * noise.clouds(9) + 0.4 * noise.clouds(3))
    row = np.floor(y / tall)
    x += (row % 2) * np.float32(wide / 2)
    column = np.floor(x / wide)
    down, across = y - row * tall, x - column * wide
    edge = np.minimum(np.minimum(down, tall - down), np.minimum(across, wide - across)) - joint / 2
    face = np.clip(edge / (2.6 * unit) + 0.5, 0, 1)[..., np.newaxis]
    shaded = down > tall - joint / 2
    shade = 0.18 * shaded * np.clip(1 - (down - (tall - joint / 2)) / (joint * 0.6), 0, 1)
    wall: Plane = _burnt(noise, row * 37 + column * 101) * face + _mortar(noise, 1 - shade) * (1 - face)
    wall -= 9 * (face * (1 - face) * 4)  # dirt gathers where brick meets mortar
    return wall


def _burnt(noise: _Noise, names: Plane) -> Plane:
    """Paint the faces of bricks, each of its own shade; ``names`` float32 [h, w] tells which brick a pixel is of."""
    rng = noise.rng
    hues = ((204, 154, 120), (196, 140, 108), (166, 98, 86), (208, 126, 88))
    shades = np.array(hues[rng.integers(0, 4)]) * rng.normal(1, 0.06, (64, 1)) + rng.normal(0, 4, (64, 3))
    texture = 5 * noise.clouds(22) + 4 * noise.clouds(5) + 4 * noise.clouds(1.6) - 26 * noise.specks(0.004, 1.8)
    texture += 24 * noise.specks(0.006, 1.6)
    faces: Plane = shades.astype(np.float32)[(names % 64).astype(np.int32)]
    faces += texture[..., np.newaxis]
    return faces


def _mortar(noise: _Noise, light: Plane) -> Plane:
    tone = noise.rng.uniform(150, 172) + 5 * noise.clouds(14) + 7 * noise.clouds(5) + 6 * noise.clouds(1.6)
    return _tinted(tone * light, np.array([1.0, 0.985, 0.96]) + noise.rng.uniform(-0.02, 0.02, 3))


def _tinted(tone: Plane, tint: npt.NDArray[Any]) -> Plane:
    tinted: Plane = tone[..., np.newaxis] * tint.astype(np.float32)
    return tinted


def _light(noise: _Noise) -> Plane:
    """Return the fall of light over a surface, around 1: a slope and a wide soft patch of shade."""
    y, x = np.mgrid[0:2, 0:2].astype(np.float32) - 0.5
    angle, fall = noise.rng.random() * 2 * math.pi, 0.05 + 0.17 * noise.rng.random()
    slope = (x * math.cos(angle) + y * math.sin(angle)) * fall
    light: Plane = 1 + cv2.resize(slope, (noise.width, noise.height)) + 0.02 * noise.clouds(UNIT / 2)
    return light


def _draw_crack(rng: np.random.Generator, mask: npt.NDArray[np.uint8], x: float, unit: float) -> None:
    """Draw a branching crack from edge to edge through column ``x`` into a mask, uint8 [h, w]."""
    height = mask.shape[0]
    lean = rng.uniform(-0.26, 0.26) * height
    pending = [(np.array([[x - lean, -0.04 * height], [x + lean, 1.04 * height]]), rng.uniform(2.8, 5.6) * unit, 0)]
    while pending:
        ends, wide, depth = pending.pop()
        path = _wander(rng, ends, unit)
        _fill(rng, mask, path, _widths(rng, len(path), wide, unit, to_nothing=depth > 0))
        if depth == 2:  # noqa: PLR2004 - a branch of a branch is the finest that is seen
            continue
        run = ends[1] - ends[0]
        for _ in range(rng.poisson((1.2, 0.6)[depth])):
            at = path[rng.integers(len(path) // 8, len(path) * 7 // 8)]
            turn = rng.choice((-1, 1)) * rng.uniform(0.4, 1.1)
            spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            tip = at + spin @ run * rng.uniform(0.12, 0.4)
            pending.append((np.array([at, tip]), wide * rng.uniform(0.3, 0.65), depth + 1))


def _wander(rng: np.random.Generator, ends: npt.NDArray[Any], unit: float) -> npt.NDArray[Any]:
    """Return points float64 [n, 2] from end to end by midpoint displacement: crooked at every scale."""
    path, reach = ends, 0.085 * float(np.linalg.norm(ends[1] - ends[0]))
    while reach > 0.35 * unit or len(path) < 9:  # noqa: PLR2004 - a short branch has a few bends too
        longer = np.empty((len(path) * 2 - 1, 2))
        longer[::2] = path
        longer[1::2] = (path[1:] + path[:-1]) / 2 + rng.normal(0, reach, (len(path) - 1, 2))
        path, reach = longer, reach * 0.56
    return path


def _widths(rng: np.random.Generator, count: int, wide: float, unit: float, *, to_nothing: bool) -> npt.NDArray[Any]:
    """Return the width of a crack along its path, float64 [count]: it swells and narrows, and a branch thins out."""
    knots = max(4, count // 9)
    swell = np.interp(np.arange(count), np.linspace(0, count, knots), rng.uniform(0.4, 1.4, knots))
    taper = np.linspace(1, 0.25, count) if to_nothing else 1.0
    return np.maximum(0.8 * unit, wide * swell * taper)


def _fill(
    rng: np.random.Generator, mask: npt.NDArray[np.uint8], path: npt.NDArray[Any], widths: npt.NDArray[Any]
) -> None:
    """Fill the ribbon around a path, its two edges ragged."""
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
    left, right = (widths * rng.uniform(0.25, 0.75, len(path)) for _ in range(2))
    ribbon = np.concatenate([path + normal * left[:, np.newaxis], (path - normal * right[:, np.newaxis])[::-1]])
    cv2.fillPoly(mask, [np.round(ribbon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _open_crack(noise: _Noise, image: Plane, mask: npt.NDArray[np.uint8]) -> Plane:
    """Cut the mask into the picture: dark inside, one edge lit, the surface around it dirty."""
    unit = noise.unit
    inside = cv2.GaussianBlur(mask, (0, 0), 0.45 * unit).astype(np.float32) / np.float32(255)
    around = cv2.GaussianBlur(mask, (0, 0), 4 * unit).astype(np.float32) / np.float32(255)
    move = np.array([[1, 0, 1.3 * unit], [0, 1, 1.1 * unit]], np.float32)
    lit = np.clip(cv2.warpAffine(inside, move, (noise.width, noise.height)) - inside, 0, 1)
    image = image * (1 - 0.16 * np.clip(around * 2, 0, 1))[..., np.newaxis] + 20 * lit[..., np.newaxis]
    depth = np.clip(0.82 + 0.08 * noise.clouds(20), 0.6, 0.95)
    share = (inside * depth)[..., np.newaxis]
    hollow = np.array([34, 30, 27], np.float32) * noise.rng.uniform(0.2, 1.0)
    return image * (1 - share) + hollow.astype(np.float32) * share
