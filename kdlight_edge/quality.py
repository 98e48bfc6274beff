"""Whether a picture can be judged at all: dark, over-exposed, blurred or empty, told from the prepared input."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

DARK = (16.0, 24.0)
"""Mean grey level below which a picture is dark, and above which it is not so any more; 0 to 255."""

OVER = (0.60, 0.40)
"""Share of pixels at 250 or more above which a picture is over-exposed, and below which it is not so any more."""

EMPTY = (1.0, 2.0)
"""Standard deviation of the grey level below which there is nothing to see: less than a sensor's own noise."""

BLURRED = (0.002, 0.004)
"""Variance of the Laplacian over that of the grey level: below the first nothing is sharp. A ratio, so that contrast
does not count; its usual values are 0.02 and more."""

WHITE = 250


class Quality:
    """Looks at the pictures of one source. What was refused must become clearly better before it is let in again."""

    def __init__(self) -> None:
        self._refused = ""

    def look(self, picture: npt.NDArray[np.uint8]) -> str:
        """Return why a prepared picture, uint8 [H, W, 3] RGB, cannot be judged; empty where it can."""
        return self.look_at(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))

    def look_at(self, grey: Any) -> str:
        """As `look`, of a picture in grey, uint8 [H, W]."""
        middle, spread = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
        found = (
            self._lower("dark", middle, DARK, f"mean grey level {middle:.0f}")
            or self._over(grey)
            or self._lower("empty", spread, EMPTY, f"grey level varies by {spread:.1f}")
        )
        if not found:
            edges: Any = cv2.Laplacian(grey, cv2.CV_16S)
            # Mean square less squared mean: `meanStdDev` of 16 bits takes five times as long.
            ratio = (cv2.norm(edges, cv2.NORM_L2SQR) / grey.size - cv2.mean(edges)[0] ** 2) / spread**2
            found = self._lower("blurred", ratio, BLURRED, f"sharpness {ratio:.4f}")
        self._refused = found.partition(":")[0]
        return found

    def _lower(self, name: str, value: float, limits: tuple[float, float], said: str) -> str:
        limit = limits[self._refused == name]
        return f"{name}: {said} is below {limit:g}" if value < limit else ""

    def _over(self, grey: Any) -> str:
        share = cv2.countNonZero(cv2.threshold(grey, WHITE - 1, 255, cv2.THRESH_BINARY)[1]) / grey.size
        limit = OVER[self._refused == "over-exposed"]
        return f"over-exposed: {share:.0%} of it is white, more than {limit:.0%}" if share > limit else ""
