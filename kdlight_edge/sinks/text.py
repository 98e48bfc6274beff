"""One short line for people for each prediction."""

from kdlight_edge.decide import Prediction
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.lines import Lines


class Text:
    """Writes picture, labels with their probabilities, and the decision."""

    wants_frames = False

    def __init__(self, lines: Lines, *, numbered: bool) -> None:
        """Take where to write; ``numbered`` adds the frame's number, where all come from one camera or video."""
        self._lines = lines
        self._numbered = numbered

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Write one line."""
        del frame
        name = prediction.source if prediction.source.isprintable() else ascii(prediction.source)
        if self._numbered:
            name = f"{name} #{prediction.index}"
        labels = "  ".join(f"{label} {probability:.3f}" for label, probability in prediction.top) or "-"
        said = [name, labels, prediction.decision, prediction.reason]
        if prediction.vote is not None:
            said.append(f"vote: {prediction.vote.label or prediction.vote.decision}")
        self._lines.write("  ".join(filter(None, said)))

    def close(self) -> None:
        """Write what is held back."""
        self._lines.close()
