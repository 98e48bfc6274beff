"""A camera that needs no hardware: it pans over generated surfaces, some of them cracked, and knows the truth."""

import math
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import UsageError
from kdlight_edge.frame import Moment
from kdlight_edge.sources import Patience
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.surface import MATERIALS, Surface, render

CRACKED = 0.008
"""Share of a view that is crack from which on it is called one."""

PAN_SECONDS = 2.5
"""How long the camera stays on a surface."""

Truth = Literal["crack", "no_crack"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the query of ``scene:crack?fps=30&seed=7&frames=300&size=480x480`` sets."""

    fps: float = 30.0
    seed: int = 7
    frames: int = 0
    """After how many frames it ends; 0 for never."""
    width: int = 480
    height: int = 480


class Scene:
    """Surfaces in a row and the camera's way over them; frame i is the same whenever it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        width, height = settings.width, settings.height
        size = int(width * 2.1), int(height * 1.08) + 1
        self._surfaces: list[Surface] = []
        for i in range(2 * len(MATERIALS)):
            # The crack stands near one end, so that each pan shows sound surface too; which end, alternates.
            at = 0.24 if i % 2 else 0.76
            material = MATERIALS[i % len(MATERIALS)]
            self._surfaces.append(render(material, settings.seed * 10 + i, size, view=min(width, height), crack_at=at))
        self._areas = [cv2.integral(surface.mask) for surface in self._surfaces]
        """int32 [h + 1, w + 1]: sums of the mask, so that the crack in any view is counted by four of them."""

    def view(self, index: int) -> tuple[npt.NDArray[np.uint8], Truth | None]:
        """Return frame ``index``, uint8 [height, width, 3] RGB, and what is on it; None where it cannot be told."""
        settings = self.settings
        per_pan = max(1, round(PAN_SECONDS * settings.fps))
        visit, step = divmod(index, per_pan)
        number = visit % len(self._surfaces)
        image = self._surfaces[number].image
        way = 0.5 - 0.5 * math.cos(math.pi * (step + 0.5) / per_pan)
        left = round(way * (image.shape[1] - settings.width))
        top = round((0.5 + 0.5 * math.sin(index / settings.fps * 1.7)) * (image.shape[0] - settings.height))
        shown = image[top : top + settings.height, left : left + settings.width]
        gain = 1 + 0.06 * math.sin(index / settings.fps * 2.3)  # a camera's exposure that is never quite at rest
        frame: Any = cv2.convertScaleAbs(shown, alpha=gain)
        return frame, self._truth(number, left, top)

    def _truth(self, number: int, left: int, top: int) -> Truth | None:
        right, low = left + self.settings.width, top + self.settings.height
        area = self._areas[number]
        share = (area[low, right] - area[top, right] - area[low, left] + area[top, left]) / (
            255 * (right - left) * (low - top)
        )
        if share >= CRACKED:
            return "crack"
        return "no_crack" if share == 0 else None


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Latest:
    """Open ``scene:crack``; its frames come by the clock whether or not they are taken.

    Raises:
        UsageError: another scene, or an option that is unknown or out of range.
    """
    del patience, report
    settings = read_settings(uri)
    scene = Scene(settings)

    def capture(slot: Slot) -> None:
        started, index = time.monotonic(), 0
        while not settings.frames or index < settings.frames:
            wait = started + index / settings.fps - time.monotonic()
            if slot.closed.wait(wait) if wait > 0 else slot.closed.is_set():
                return
            image, truth = scene.view(index)
            slot.put(image, Moment.now(), {"truth": truth})
            index += 1

    return Latest(uri, capture)


def read_settings(uri: str) -> Settings:
    """Read the query of a scene's URI.

    Raises:
        UsageError: see `load`.
    """
    name, _, query = uri.partition("?")
    if name != "scene:crack":
        raise UsageError(f"{name} is not a scene; there is scene:crack")
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    try:
        width, height = (int(side) for side in given.pop("size", "480x480").split("x"))
        settings = Settings(
            float(given.pop("fps", 30)), int(given.pop("seed", 7)), int(given.pop("frames", 0)), width, height
        )
    except ValueError as error:
        raise UsageError(f"{uri}: {error}; write it like scene:crack?fps=30&seed=7&frames=300&size=480x480") from error
    if given:
        raise UsageError(f"{uri}: unknown option {', '.join(given)}; there are fps, seed, frames and size")
    sides = 32 <= width <= 4096 and 32 <= height <= 4096  # noqa: PLR2004 - six surfaces of twice this are held
    if not (0.001 <= settings.fps <= 1000 and settings.frames >= 0 and settings.seed >= 0 and sides):  # noqa: PLR2004
        raise UsageError(f"{uri}: fps is above 0 (0.001) to 1000, seed and frames 0 or more, size 32x32 to 4096x4096")
    return settings
