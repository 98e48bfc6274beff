"""The overlay of a surface: its picture, reduced, with where the class that matters was found and what was skipped."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.evidence import glow_fast
from kdlight_edge.sinks import ink
from kdlight_edge.survey.judge import FOUND, SKIPPED, Survey

HATCH = 9
"""Pixels from stripe to stripe over what was skipped."""

FAINT = 0.3
"""Probability below which nothing glows."""

HEAT_SIDE = 1600
"""Pixels of the longer side of the heat map before it is enlarged: it is smooth anyway."""

CHUNK = 256
"""Rows painted at a time: a whole overlay at full resolution would need several copies of itself."""


class Overview:
    """Grows from the bands of a picture to its copy, at most ``side`` pixels long."""

    def __init__(self, width: int, height: int, side: int) -> None:
        scale = min(1.0, side / max(width, height))
        self._full = height
        self.image = np.zeros((max(1, round(height * scale)), max(1, round(width * scale)), 3), np.uint8)
        """uint8 [h, w, 3] RGB."""
        self._done = 0

    def add(self, top: int, band: npt.NDArray[np.uint8]) -> None:
        """Take the next rows, uint8 [h, width, 3]; ``top`` is the first of them in the picture."""
        height, width = self.image.shape[:2]
        until = round((top + len(band)) * height / self._full)
        if until > self._done:
            size = width, until - self._done
            part = band if size == band.shape[1::-1] else cv2.resize(band, size, interpolation=cv2.INTER_AREA)
            self.image[self._done : until] = part
            self._done = until


def heat_of(survey: Survey, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return the probability of the likeliest class that matters, float32 [h, w]; 0 where nothing was judged."""
    cells = np.where(survey.judged, survey.chances.max(axis=0), 0).astype(np.float32)
    sigma = 0.25 * survey.grid.step * size[0] / survey.grid.width
    blurred: Any = cv2.GaussianBlur(_spread(cells, survey, size), (0, 0), max(0.5, sigma))
    return blurred  # type: ignore[no-any-return]


def _spread(cells: npt.NDArray[Any], survey: Survey, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Give each pixel the value of the tile that answers for it."""
    grid = survey.grid
    x = (np.arange(size[0]) + 0.5) * grid.width / size[0]
    y = (np.arange(size[1]) + 0.5) * grid.height / size[1]
    columns = np.searchsorted(grid.columns_owned(), x, side="right") - 1
    rows = np.searchsorted(grid.rows_owned(), y, side="right") - 1
    return cells[rows][:, columns]


def paint(picture: npt.NDArray[np.uint8], survey: Survey) -> npt.NDArray[np.uint8]:
    """Paint over a picture, uint8 [h, w, 3] RGB, in place, and return it: a glow, outlines, stripes where skipped."""
    height, width = picture.shape[:2]
    scale = min(1.0, HEAT_SIDE / max(height, width))
    raw = heat_of(survey, (max(1, round(width * scale)), max(1, round(height * scale))))
    heat = np.clip((raw - FAINT) / (1 - FAINT), 0, 1).astype(np.float32)
    codes = _spread(np.vectorize(ord, otypes=[np.uint8])(survey.letters), survey, (width, height))
    for top in range(0, height, CHUNK):
        part = picture[top : top + CHUNK]
        part[:] = glow_fast(part, _enlarged(heat, (width, height), top, len(part)))
        _stripe(part, codes[top : top + CHUNK], top)
    table = np.zeros(256, np.uint8)
    table[np.frombuffer(FOUND.encode(), np.uint8)] = 1
    found = cv2.LUT(codes, table)
    borders, _ = cv2.findContours(found, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, borders, -1, ink.POSITIVE, max(1, round(max(width, height) / 1000)), cv2.LINE_AA)
    return picture


def _enlarged(heat: npt.NDArray[np.float32], size: tuple[int, int], top: int, rows: int) -> npt.NDArray[np.float32]:
    """Return ``rows`` rows from ``top`` on of the map enlarged to a size, float32 [rows, width]."""
    across, down = heat.shape[1] / size[0], heat.shape[0] / size[1]
    way = np.array([[across, 0, 0.5 * across - 0.5], [0, down, (top + 0.5) * down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    grown = cv2.warpAffine(heat, way, (size[0], rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result: npt.NDArray[np.float32] = np.clip(grown, 0, 1)
    return result


def _stripe(part: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], top: int) -> None:
    """Draw stripes over the rows from ``top`` on where a tile was skipped, in the colour of the reason."""
    x, y = np.arange(part.shape[1]), np.arange(top, top + len(part))
    stripe = (x[np.newaxis] + y[:, np.newaxis]) % HATCH < 1
    for letter, name in SKIPPED.items():
        area = codes == ord(letter)
        if area.any():
            part[area & stripe] = ink.DECISIONS.get(name, ink.GREY)


def heat_png(chances: npt.NDArray[np.float32]) -> bytes:
    """Return the probabilities of one class, float32 [rows, columns], as a grey PNG, a pixel a tile."""
    _, content = cv2.imencode(".png", np.rint(np.nan_to_num(chances) * 255).astype(np.uint8))
    return content.tobytes()
