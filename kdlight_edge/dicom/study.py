"""A study as a whole: what the answers for its frames add up to."""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdlight_edge.decide import Prediction

KEPT = 256
"""Studies that are added up at a time: a listener runs for months."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The frame that speaks most for a label."""

    probability: float
    instance: str | None
    """Hash of its object."""
    frame: int
    """Its number in the object, from 1."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study: counts, and for each label the frame that speaks most for it."""

    study: str | None
    """Hash of its identifier; None where the object has none."""
    frames: int
    decisions: Mapping[str, int]
    by_label: Mapping[str, int]
    """Accepted frames by their label."""
    peaks: Mapping[str, Peak]
    """Of accepted frames, by label."""


class RollUp:
    """Adds predictions up by study; the study that was silent longest is let go first."""

    def __init__(self) -> None:
        self._studies: OrderedDict[str | None, _Sum] = OrderedDict()

    def add(self, prediction: Prediction) -> None:
        """Count one prediction; nothing is done for a picture that is no scan."""
        scan = prediction.scan
        if scan is None:
            return
        study = scan["study"]
        if study not in self._studies and len(self._studies) == KEPT:
            self._studies.popitem(last=False)
        self._studies.setdefault(study, _Sum()).add(prediction, scan)
        self._studies.move_to_end(study)

    def studies(self) -> tuple[Study, ...]:
        """Return the studies, the one that was answered last at the end."""
        return tuple(
            Study(study, found.decisions.total(), dict(found.decisions), dict(found.labels.most_common()), found.peaks)
            for study, found in self._studies.items()
        )


class _Sum:
    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.peaks: dict[str, Peak] = {}

    def add(self, prediction: Prediction, scan: Mapping[str, Any]) -> None:
        self.decisions[prediction.decision] += 1
        if prediction.decision != "accepted" or prediction.label is None or prediction.probability is None:
            return
        self.labels[prediction.label] += 1
        seen = self.peaks.get(prediction.label)
        if seen is None or prediction.probability > seen.probability:
            self.peaks[prediction.label] = Peak(prediction.probability, scan["instance"], scan["frame"])


def describe(study: Study) -> str:
    """Return a study in one line for people."""
    said = [
        f"{label} {count:,} (at most {study.peaks[label].probability:.3f}, {_place(study.peaks[label])})"
        for label, count in study.by_label.items()
    ]
    said += [f"{count:,} {decision}" for decision, count in study.decisions.items() if decision != "accepted"]
    frames = "1 frame" if study.frames == 1 else f"{study.frames:,} frames"
    name = "without identifier" if study.study is None else study.study[:12]
    return f"study {name}: {frames}: {', '.join(said)}"


def _place(peak: Peak) -> str:
    """Return which frame of which object: most objects of a study have one, which is the first of each."""
    return f"frame {peak.frame}" + (f" of {peak.instance[:12]}" if peak.instance else "")
