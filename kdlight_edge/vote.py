"""One answer from the frames of the last seconds: each speaks for its time, and a change must be clear."""

import dataclasses
from collections import Counter, deque

from kdlight_edge.decide import Prediction, Voted

ENTER, STAY = 0.6, 0.4
"""Share of the time that a new answer needs, and that the present one needs to stay; between them nothing changes."""

SEEN = 0.5
"""Share of the seconds that frames must speak for: below it, at the start and after a gap, the vote is open."""

LONGEST = 0.25
"""Share of the seconds that one frame speaks for at most, however long no other came."""

_ANSWERS = frozenset({"accepted", "abstained", "outlier", "stale"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Ballot:
    at: float
    choice: tuple[str, str]
    """Decision, and the label where it is accepted."""
    nanoseconds: int
    """What it weighs; whole numbers, so that sums that are added to and taken from for months stay exact."""
    millionths: int
    """Its probability."""


class Vote:
    """Follows the frames of one camera by the time they were captured at.

    A frame speaks for the time since the one before it, so that dropped frames and a changing rate do not shift the
    result. What was abstained from, an outlier or stale is a choice like a label; an error is none.
    """

    def __init__(self, seconds: float) -> None:
        """Take how far back the vote looks."""
        self._seconds = seconds
        self._ballots: deque[_Ballot] = deque()
        self._weights: Counter[tuple[str, str]] = Counter()
        self._chances: Counter[tuple[str, str]] = Counter()
        """Millionths times nanoseconds."""
        self._last: float | None = None
        self._present: tuple[str, str] | None = None

    def add(self, prediction: Prediction) -> Prediction:
        """Return the prediction with the vote as it stands with it."""
        now = prediction.captured.monotonic
        if prediction.decision in _ANSWERS:
            self._cast(prediction, now)
        while self._ballots and self._ballots[0].at <= now - self._seconds:
            self._count(self._ballots.popleft(), -1)
        return dataclasses.replace(prediction, vote=self._counted())

    def _cast(self, prediction: Prediction, now: float) -> None:
        since = 0.0 if self._last is None else min(max(now - self._last, 0.0), LONGEST * self._seconds)
        self._last = now
        accepted = prediction.decision == "accepted"
        choice = (prediction.decision, prediction.label or "" if accepted else "")
        ballot = _Ballot(now, choice, round(since * 1e9), round((prediction.probability or 0.0) * 1e6))
        self._ballots.append(ballot)
        self._count(ballot, 1)

    def _count(self, ballot: _Ballot, sign: int) -> None:
        self._weights[ballot.choice] += sign * ballot.nanoseconds
        self._chances[ballot.choice] += sign * ballot.nanoseconds * ballot.millionths

    def _counted(self) -> Voted:
        total, frames = self._weights.total(), len(self._ballots)
        if total < SEEN * self._seconds * 1e9:
            self._present = None
            return Voted("open", f"frames of {total / 1e9:.1f} s in the last {self._seconds:g} s", frames=frames)
        (first, most), *_ = self._weights.most_common(1)
        if most >= ENTER * total:
            self._present = first
        elif self._present is not None and self._weights[self._present] < STAY * total:
            self._present = None
        if self._present is None:
            return Voted("open", f"no answer held long enough: the first has {most / total:.0%}", frames=frames)
        (decision, label), weight = self._present, self._weights[self._present]
        if decision != "accepted":
            return Voted(decision, f"{weight / total:.0%} of the time", frames=frames, share=weight / total)
        chance = self._chances[self._present] / weight / 1e6
        return Voted("accepted", "", label, chance, weight / total, frames)
