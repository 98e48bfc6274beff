"""One picture with its time and origin, or the reason why there is none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NO_META: Mapping[str, Any] = MappingProxyType({})
"""Shared by every frame that has nothing to add."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant on two clocks: the wall clock to tell people, the monotonic one to measure with."""

    utc: float
    """Seconds since 1970, UTC; may step when the clock is set."""
    monotonic: float
    """Seconds of ``time.monotonic``; never steps, so ages are computed from it alone."""

    @classmethod
    def now(cls) -> "Moment":
        """Return the present instant."""
        return cls(time.time(), time.monotonic())


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture, as a source gives it."""

    image: "npt.NDArray[np.uint8]"
    """uint8 [h, w, 3], RGB, upright; where no sink wants it also [h, w], all its colours alike or not needed."""
    captured: Moment
    """When the camera gave it; for a file, when it was read."""
    source: str
    """The URI of the source, or the path of the file."""
    index: int
    """Counts from 0 within the source, dropped frames included."""
    dropped: int = 0
    """Frames of a live source that were replaced by newer ones since the last frame handed out."""
    meta: Mapping[str, Any] = field(default_factory=lambda: NO_META)
    """What the source knows beside the pixels (for instance the label folder of a picture)."""
    full: tuple[int, int] | None = None
    """Width and height of the picture where it was decoded at a part of them (`kdlight_edge.prepare.reduction`)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A place in a source where a picture should be and is not: reported in its turn, never skipped in silence."""

    reason: str
    """One line for people."""
    captured: Moment
    source: str
    index: int
    meta: Mapping[str, Any] = field(default_factory=lambda: NO_META)
