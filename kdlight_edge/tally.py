"""What a run adds up to: counts, speed, and how long pictures took and how old results were."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlight_edge.decide import Prediction
from kdlight_edge.dicom.study import RollUp, Study
from kdlight_edge.meter import percentile_of

KEPT = 65_536
"""How many of the latest durations the percentiles are taken from: half an hour of a camera, and a bound on memory."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished run."""

    frames: int
    """Pictures taken from the source, unreadable ones included."""
    errors: int
    accepted: int
    abstained: int
    outliers: int
    stale: int
    dropped: int
    """Frames of a live source that were replaced by newer ones."""
    seconds: float
    by_label: Mapping[str, int]
    """Accepted pictures by their label."""
    picture_ms: Mapping[str, float]
    """Milliseconds from encoded bytes to result: ``p50``, ``p90``, ``p99`` where there are samples enough, ``max``."""
    age_ms: Mapping[str, float]
    """Milliseconds from capture to decision, in the same way."""
    judged: int
    """Pictures whose truth the source knows."""
    right: int
    """Those of them whose first label is the truth, whatever was decided."""
    studies: tuple[Study, ...] = ()
    """What the frames of each study add up to, where they were scans; the last `study.KEPT` of them."""

    @property
    def images_per_second(self) -> float:
        """Pictures by time, from the first asked for to the last delivered."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class _Newest:
    """The newest `KEPT` numbers; all their memory is taken at once, so that a run of months does not grow at first."""

    def __init__(self) -> None:
        self._ring = array("d", bytes(8 * KEPT))
        self._count = 0

    def append(self, value: float) -> None:
        """Take one; the oldest makes room."""
        self._ring[self._count % KEPT] = value
        self._count += 1

    def values(self) -> Sequence[float]:
        """Return them in no particular order."""
        return self._ring[: min(self._count, KEPT)]


class Tally:
    """Adds predictions up as they come, in bounded memory."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._dropped = 0
        self._judged = 0
        self._right = 0
        self._studies = RollUp()
        self._picture_ms, self._age_ms = _Newest(), _Newest()

    def add(self, prediction: Prediction, truth: str | None = None) -> None:
        """Count one prediction; ``truth`` is the id of the label it should have, None where nobody knows."""
        self.decisions[prediction.decision] += 1
        self._dropped += prediction.dropped
        self._studies.add(prediction)
        if prediction.label is None:
            return
        if prediction.decision == "accepted":
            self._labels[prediction.label] += 1
        if truth is not None:
            self._judged += 1
            self._right += prediction.label == truth
        self._age_ms.append(prediction.age * 1000)
        if prediction.milliseconds:
            self._picture_ms.append(sum(prediction.milliseconds.values()))

    def summary(self, seconds: float) -> Summary:
        """Return the whole of it; ``seconds`` is how long it took."""
        count = self.decisions
        return Summary(
            frames=count.total(),
            errors=count["error"],
            accepted=count["accepted"],
            abstained=count["abstained"],
            outliers=count["outlier"],
            stale=count["stale"],
            dropped=self._dropped,
            seconds=seconds,
            by_label=dict(self._labels.most_common()),
            picture_ms=spread(self._picture_ms.values()),
            age_ms=spread(self._age_ms.values()),
            judged=self._judged,
            right=self._right,
            studies=self._studies.studies(),
        )


def spread(samples: Iterable[float]) -> dict[str, float]:
    """Return ``p50``, ``p90`` and ``p99``, each only where the samples prove it, and ``max``; empty without samples."""
    ordered = sorted(samples)
    proved = {f"p{share}": percentile_of(ordered, share / 100) for share in (50, 90, 99)}
    found = {name: value for name, value in proved.items() if value is not None}
    return {**found, "max": ordered[-1]} if ordered else {}


def truth_of(meta: Mapping[str, Any], labels: Collection[str]) -> str | None:
    """Return the label id a picture should have: what its source says, or its folder's name where that is a label."""
    truth: Any = meta["truth"] if "truth" in meta else meta.get("below", "").rpartition("/")[0].rpartition("/")[2]
    return truth if truth in labels else None
