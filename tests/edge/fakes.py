"""An engine and a source that need no hardware, and pass the contracts of the real ones; and an answer."""

from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from kdlight_edge.decide import Prediction
from kdlight_edge.engines import Outputs
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.manifest import Artifact, Thresholds


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


def prediction(index: int) -> Prediction:
    """Return an accepted answer of this moment."""
    return Prediction("cam", index, Moment.now(), Moment.now(), "accepted", "", "crack", 0.9, (("crack", 0.9),), 0.1)
