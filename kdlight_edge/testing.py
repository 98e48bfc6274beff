"""Pictures, a source and an engine that need no hardware: golden pictures, and fakes that pass the real contracts."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.engines import Outputs
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.manifest import Artifact, Thresholds

GOLDEN_SIDE = 192
"""Height of a golden picture in pixels, its width is a third more: not square and not the input's size, so that a
wrong resize is seen too."""


def golden_picture(seed: int) -> npt.NDArray[np.uint8]:
    """Return a procedural picture, uint8 [192, 256, 3] RGB: coloured clouds at three scales with dark strokes.

    Only raw bits of a PCG64 stream and whole-number arithmetic are used, so that every machine and every version of
    NumPy makes the same bytes.
    """
    bits = np.random.PCG64(seed)
    height, width = GOLDEN_SIDE, GOLDEN_SIDE * 4 // 3
    canvas: npt.NDArray[Any] = np.zeros((height, width * 3), np.int32)
    for power, weight in ((2, 1), (4, 2), (6, 4)):
        rows, columns = (height >> power) + 2, (width >> power) + 2
        grid = (bits.random_raw(rows * columns * 3) >> np.uint64(56)).astype(np.int32)
        canvas += weight * _smooth(grid.reshape(rows, columns, 3), power)[:height, : width * 3]
    picture: npt.NDArray[np.uint8] = (canvas // 7).astype(np.uint8).reshape(height, width, 3)
    strokes = (bits.random_raw(16) >> np.uint64(48)).astype(np.int64).reshape(4, 4)
    y, x = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)[None, :]
    for a, b, c, shade in strokes.tolist():
        distance = np.abs((a % 129 - 64) * (x - b % width) + (c % 129 - 64) * (y - c % height))
        picture[distance < 96 + shade % 128] //= np.uint8(2 + shade % 3)
    return picture


def _smooth(grid: npt.NDArray[Any], power: int) -> npt.NDArray[Any]:
    """Interpolate int32 [rows, columns, 3] linearly to 2 ** power times the size, [h, w * 3], in whole numbers.

    Along the few rows of the grid first and then downwards: every start of the runtime draws these pictures.
    """
    cells = 1 << power
    part = np.arange(cells, dtype=np.int32)
    left, right = (side.repeat(cells, axis=1).reshape(len(grid), -1) for side in (grid[:, :-1], grid[:, 1:]))
    share = np.tile(part.repeat(3), grid.shape[1] - 1)
    wide = left * (cells - share) + right * share
    tall: npt.NDArray[Any] = wide[:-1, None] * (cells - part)[:, None] + wide[1:, None] * part[:, None]
    result: npt.NDArray[Any] = tall.reshape(-1, wide.shape[1]) >> (2 * power)
    return result


class FakeEngine:
    """An engine of arithmetic: the map of label c is colour channel c modulo 3 over 255, the logit its mean."""

    name = "fake"
    concurrent = True

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self.artifact = Artifact("fake.onnx", "onnx", "fp32", "0" * 64, 0, 1.0, Thresholds(0.0))

    def run(self, batch: npt.NDArray[np.uint8], *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3]."""
        channels = [batch[..., label % 3] for label in range(self.labels)]
        maps = np.stack(channels, axis=1).astype(np.float32) / np.float32(255)
        logits = maps.mean(axis=(2, 3), dtype=np.float32)
        return Outputs(logits, maps if cam else None, np.zeros(len(batch), np.float32))

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release."""


class FakeSource:
    """A source that gives what it was given, in order."""

    live = False

    def __init__(self, images: Sequence[npt.NDArray[np.uint8] | str]) -> None:
        """Take pictures, uint8 [h, w, 3] RGB, or in the place of one the reason why it cannot be read."""
        self._images = images
        self.closed = False

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        for index, image in enumerate(self._images):
            if self.closed:
                return
            if isinstance(image, str):
                yield Unreadable(image, Moment.now(), "fake", index)
            else:
                yield Frame(image, Moment.now(), "fake", index)

    def close(self) -> None:
        """End the iteration."""
        self.closed = True
