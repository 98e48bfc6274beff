"""A camera that dies and comes back: read until it is lost, then open it again, ever more patiently."""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Moment
from kdlight_edge.sources import Patience
from kdlight_edge.sources.frozen import Frozen
from kdlight_edge.sources.latest import Latest, Slot
from kdlight_edge.sources.outage import Outages


class Feed(Protocol):
    """An open connection to a camera."""

    def read(self) -> tuple[npt.NDArray[np.uint8] | bytes | str, Moment]:
        """Wait for the next frame.

        Returns:
            uint8 [h, w, 3] RGB, or a JPEG that is decoded once somebody wants it, or the reason why this one frame
            cannot be decoded; and when it was captured.

        Raises:
            SourceError: the camera is lost (gone, ended, or silent for the stall timeout).
        """
        ...

    def close(self) -> None:
        """Let go of the camera."""
        ...


def keep_reading(name: str, connect: Callable[[], Feed], patience: Patience, report: Callable[[str], None]) -> Latest:
    """Open a camera and return the live source that reads it and reconnects when it is lost.

    Args:
        name: of the source, for people and in every frame.
        connect: opens the camera; called now, or with ``patience.at_start`` with the first frame, and after each loss.
        patience: with a lost camera.
        report: takes a line when the camera is lost, for each further cause, and when it is back; but see `Outages`.

    Raises:
        SourceError: the camera cannot be opened now. (Later, from the iteration: it stayed away too long.)
    """
    first = None if patience.at_start else connect()
    frozen = Frozen(patience.freeze_timeout)

    def capture(slot: Slot) -> None:
        feed: Feed | None = first
        outages = Outages(name, patience, report)
        while not slot.closed.is_set():
            try:
                feed = feed or connect()
                image, captured = feed.read()
                repeated = frozen.repeats(image, captured)
            except SourceError as error:
                if feed is not None:
                    feed.close()
                feed, slot.away = None, time.monotonic()
                frozen.reopened()
                slot.closed.wait(outages.failed(error))
                continue
            if repeated:
                camera.repeated += 1
                continue
            camera.reconnects += outages.over()
            slot.away = None
            slot.put(image, captured)
        if feed is not None:
            feed.close()

    camera = Latest(name, capture)
    return camera
