"""Where predictions go: one contract, one file a kind of sink."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kdlight_edge.decide import Prediction
    from kdlight_edge.events import Event
    from kdlight_edge.frame import Frame


class Sink(Protocol):
    """Takes every prediction of a run, in order, from one thread."""

    wants_frames: bool
    """Whether it draws the pictures; where no sink does, they are let go as soon as they are classified."""

    def write(self, prediction: "Prediction", frame: "Frame | None") -> None:
        """Take one prediction.

        Args:
            prediction: the answer, or the error that stands in its place.
            frame: the picture, not to be written to; None for an error, and where no sink of the run wants frames.

        Raises:
            KDLightError: it cannot be written; what was written before stays valid.
            BrokenPipeError: the reader of stdout went away.
        """
        ...

    def close(self) -> None:
        """Write what is still held and let go; safe to call twice."""
        ...


@runtime_checkable
class Listener(Protocol):
    """A sink that also carries what begins and ends: an event comes before the result by which it was known."""

    def tell(self, event: "Event") -> None:
        """Take one event, from the thread that writes predictions; raises as `Sink.write`."""
        ...
