"""Logits to a decision that a person can act on: calibrated probability, abstention, outlier, staleness."""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.dicom.suited import noted
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.manifest import Artifact, Manifest

SCHEMA = "kdlight-edge/prediction/1"

_chance = operator.itemgetter(1)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user may set about decisions."""

    conf: float | None = None
    """Smallest probability that is accepted; None takes the artifact's own threshold."""
    topk: int = 1
    """How many labels to report."""
    max_age: float | None = None
    """Seconds after which a live result is ``stale``; None for files."""
    quality: bool = False
    """Whether pictures that cannot be judged (dark, over-exposed, blurred, empty) are abstained from."""
    vote: float | None = None
    """Seconds of a camera whose frames vote on one answer; None for none."""


@dataclass(frozen=True, slots=True)
class Voted:
    """What the frames of the last seconds say together (`kdlight_edge.vote`)."""

    decision: str
    """accepted | abstained | outlier | stale | open"""
    reason: str
    """Why it is not accepted, for people; empty when it is."""
    label: str | None = None
    probability: float | None = None
    """Mean of the frames that were accepted with this label."""
    share: float | None = None
    """Of the time that the frames speak for, 0 to 1."""
    frames: int = 0
    """How many voted."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one frame: one JSON line."""

    source: str
    index: int
    captured: Moment
    decided: Moment
    decision: str
    """accepted | abstained | outlier | stale | error"""
    reason: str
    """Why it is not accepted, for people; empty when it is."""
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    outlier: float | None = None
    dropped: int = 0
    milliseconds: Mapping[str, float] | None = None
    """Time of each stage (decode, prepare, infer)."""
    scan: Mapping[str, Any] | None = None
    """What may be told of a DICOM object, identifiers as hashes only; None for any other picture."""
    vote: Voted | None = None
    """What the last seconds of its camera say; None without `Settings.vote`."""

    @property
    def age(self) -> float:
        """Seconds from capture to decision."""
        return self.decided.monotonic - self.captured.monotonic


def softmax(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Return calibrated probabilities, float64 [..., C], of logits float32 [..., C]."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    exponent = np.exp(scaled)
    result: npt.NDArray[np.float64] = exponent / exponent.sum(axis=-1, keepdims=True)
    return result


def first_log_odds(logits: Sequence[Sequence[float]], temperature: float) -> tuple[float, ...]:
    """Return log(p / (1 - p)) of the calibrated probability p of each row's first label, to five places.

    Unlike the probability it moves with the temperature where the network is sure.
    """
    scaled = np.sort(np.asarray(logits, np.float64) / temperature, axis=1)
    others = np.logaddexp.reduce(scaled[:, :-1], axis=1)
    return tuple(round(float(value), 5) for value in scaled[:, -1] - others)


def decide(
    frame: Frame,
    logits: npt.NDArray[np.float32],
    outlier: float,
    manifest: Manifest,
    artifact: Artifact,
    settings: Settings,
    milliseconds: Mapping[str, float] | None = None,
    unfit: str = "",
) -> Prediction:
    """Turn one row of an engine's outputs into a prediction.

    Args:
        frame: the picture that was classified.
        logits: float32 [C].
        outlier: distance of its feature from the training set.
        manifest: names of the labels.
        artifact: temperature and thresholds of the file that answered.
        settings: the user's.
        milliseconds: time of each stage, passed on.
        unfit: why the picture cannot be judged (`kdlight_edge.quality`); empty where it can.
    """
    values = logits.tolist()
    if not (math.isfinite(outlier) and all(map(math.isfinite, values))):
        # Every comparison with NaN is false, so it would pass the thresholds below as accepted.
        reason = "the engine answered with numbers that are not finite; kdlight-edge verify tells more"
        return refused(frame, reason, milliseconds)
    chances, answer = _chances(values, artifact.temperature), artifact.thresholds.answer
    ranked = [(label.id, chance) for label, chance in zip(manifest.labels, chances, strict=True)]
    ranked.sort(key=_chance, reverse=True)
    demanded = _demanded(ranked, answer) if answer and settings.conf is None else None
    if demanded is not None:
        ranked.remove(demanded)
        ranked.insert(0, demanded)
    top = tuple(ranked[: max(1, settings.topk)])
    decided = Moment.now()
    accept = artifact.thresholds.accept if settings.conf is None else settings.conf
    decision, reason = _judge(frame, decided, outlier, artifact, settings)
    if decision == "accepted" and demanded is None and top[0][1] < accept:
        decision, reason = "abstained", f"probability {top[0][1]:.3f} is below {accept:.3f}"
    if unfit and decision in {"accepted", "abstained", "outlier"}:
        decision, reason = "abstained", unfit  # the cause, where the others tell what followed from it
    scan = noted(frame.meta["scan"], manifest.scans) if "scan" in frame.meta else None
    return Prediction(
        frame.source, frame.index, frame.captured, decided, decision, reason, top[0][0], top[0][1], top,
        outlier, frame.dropped, milliseconds, scan,
    )  # fmt: skip


def _chances(logits: Sequence[float], temperature: float) -> list[float]:
    """Return what `softmax` does, without numpy: it costs more than the sum of a few numbers."""
    scaled = [value / temperature for value in logits]
    most = max(scaled)
    exponents = [math.exp(value - most) for value in scaled]
    total = math.fsum(exponents)
    return [value / total for value in exponents]


def _demanded(ranked: list[tuple[str, float]], answer: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the label that must be answered although another may be likelier; the one furthest above its threshold."""
    found = [entry for entry in ranked if entry[1] >= answer.get(entry[0], math.inf)]
    return max(found, key=lambda entry: entry[1] / answer[entry[0]], default=None)


def _judge(frame: Frame, decided: Moment, outlier: float, artifact: Artifact, settings: Settings) -> tuple[str, str]:
    age = decided.monotonic - frame.captured.monotonic
    if settings.max_age is not None and age > settings.max_age:
        return "stale", f"the frame is {age:.2f} s old, more than {settings.max_age:g} s"
    limit = artifact.thresholds.outlier
    if limit is not None and outlier > limit:
        return "outlier", f"unlike the training pictures: distance {outlier:.3g} is above {limit:.3g}"
    return "accepted", ""


def failed(bad: Unreadable) -> Prediction:
    """Return the prediction that stands for a picture that could not be read."""
    return Prediction(bad.source, bad.index, bad.captured, Moment.now(), "error", bad.reason, scan=bad.meta.get("scan"))


def refused(frame: Frame, reason: str, milliseconds: Mapping[str, float] | None = None) -> Prediction:
    """Return the prediction that stands for a frame that must not be answered, or was answered with nonsense."""
    return Prediction(
        frame.source, frame.index, frame.captured, Moment.now(), "error", reason,
        dropped=frame.dropped, milliseconds=milliseconds, scan=frame.meta.get("scan"),
    )  # fmt: skip


def to_record(prediction: Prediction, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prediction as one JSON object, with what is the same for every line of a run (`Classifier.origin`)."""
    return {
        "schema": SCHEMA,
        "captured": utc(prediction.captured),
        "decided": utc(prediction.decided),
        "age_ms": round(prediction.age * 1000, 2),
        "source": prediction.source,
        "index": prediction.index,
        "dropped": prediction.dropped,
        "label": prediction.label,
        "probability": rounded(prediction.probability, 6),
        "top": [{"label": label, "probability": rounded(value, 6)} for label, value in prediction.top],
        "decision": prediction.decision,
        "reason": prediction.reason,
        "outlier": rounded(prediction.outlier, 4),
        "milliseconds": {stage: round(value, 3) for stage, value in (prediction.milliseconds or {}).items()},
        **({} if prediction.scan is None else {"scan": dict(prediction.scan)}),
        **({} if prediction.vote is None else {"vote": _vote_record(prediction.vote)}),
        **origin,
    }


def _vote_record(vote: Voted) -> dict[str, Any]:
    return {
        "label": vote.label, "probability": rounded(vote.probability, 6), "decision": vote.decision,
        "reason": vote.reason, "share": rounded(vote.share, 3), "frames": vote.frames,
    }  # fmt: skip


def rounded(value: float | None, digits: int) -> float | None:
    """Round for a line that is read by people too; None stays None."""
    return None if value is None else round(value, digits)


def utc(moment: Moment) -> str:
    """Return the wall-clock time in ISO 8601, UTC, milliseconds."""
    second = math.floor(moment.utc)
    microsecond = round((moment.utc - second) * 1e6)
    if microsecond == 1_000_000:  # noqa: PLR2004 - rounded up to the next second
        second, microsecond = second + 1, 0
    return f"{_second(second)}.{microsecond // 1000:03}Z"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    """Return a second without its end; the next result is mostly of the same one."""
    return datetime.fromtimestamp(second, tz=timezone.utc).isoformat()[: -len("+00:00")]
