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
    canvas: npt.NDArray[Any] = np.zeros((height, width, 3), np.int64)
    for cells, weight in ((4, 1), (16, 2), (64, 4)):
        rows, columns = height // cells, width // cells
        grid = (bits.random_raw((rows + 2) * (columns + 2) * 3) >> np.uint64(56)).astype(np.int64)
        canvas += weight * _smooth(grid.reshape(rows + 2, columns + 2, 3), cells, height, width)
    canvas //= 7
    strokes = (bits.random_raw(16) >> np.uint64(48)).astype(np.int64).reshape(4, 4)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    for a, b, c, shade in strokes.tolist():
        distance = np.abs((a % 129 - 64) * (x - b % width) + (c % 129 - 64) * (y - c % height))
        canvas[distance < 96 + shade % 128] //= 2 + shade % 3
    return canvas.astype(np.uint8)


def _smooth(grid: npt.NDArray[np.int64], cells: int, height: int, width: int) -> npt.NDArray[np.int64]:
    """Interpolate int64 [rows + 2, columns + 2, 3] linearly to [height, width, 3], in whole numbers."""
    y, x = np.arange(height), np.arange(width)
    row, column = y // cells, x // cells
    fy, fx = (y % cells)[:, None, None], (x % cells)[None, :, None]
    top = grid[row][:, column] * (cells - fx) + grid[row][:, column + 1] * fx
    low = grid[row + 1][:, column] * (cells - fx) + grid[row + 1][:, column + 1] * fx
    result: npt.NDArray[Any] = (top * (cells - fy) + low * fy) // (cells * cells)
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
