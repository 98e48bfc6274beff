"""The gate: a file goes into the bundle only when it is as right as the float one and faster than what it replaces."""

import math
import statistics
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kdlight_edge.engines import Engine
from kdlight_edge.manifest import Label, Trial
from kdlight_export.candidates import Candidate
from kdlight_export.parity import LEAST_PICTURES, Parity, complaint
from kdlight_export.plan import Plan

FASTER = 0.05
"""Share of the time that a file must save to be worth its bytes."""

SERIES, ROUNDS, BURST = 7, 16, 8
"""Series of the race, turns of a series, and pictures a turn: a slow moment of the machine meets every engine alike."""

TINY = 1e-9
"""Shares of pictures are compared with this slack: half a point is half a point."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate with its figures."""

    candidate: Candidate
    parity: Parity
    p50_ms: float
    """NaN where it was not raced: what an engine is built from elsewhere."""

    @property
    def file(self) -> str:
        """Name of the file that the engine is given."""
        return self.candidate.artifact.file


def race(engines: Sequence[Engine], picture: npt.NDArray[np.uint8]) -> list[float]:
    """Return the median time of each engine for one picture, uint8 [H, W, 3], in milliseconds, all taking turns.

    Of several series the lowest median counts: other work on the machine only ever adds to it.
    """
    batch = np.ascontiguousarray(picture[np.newaxis])
    return [min(medians) for medians in zip(*(_series(engines, batch) for _ in range(SERIES)), strict=True)]


def _series(engines: Sequence[Engine], batch: npt.NDArray[np.uint8]) -> list[float]:
    taken: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for engine, times in zip(engines, taken, strict=True):
            for _ in range(BURST):
                started = time.perf_counter()
                engine.run(batch)
                times.append((time.perf_counter() - started) * 1000)
    return [statistics.median(times) for times in taken]


def judge(measured: Sequence[Measured], labels: Sequence[Label], plan: Plan) -> list[Trial]:
    """Decide for each candidate, the float ONNX file first, whether it is kept, and say why."""
    exact = measured[0]
    kept, trials = [exact], [_trial(exact, kept=True, reason="always there: every processor runs it")]
    for one in measured[1:]:
        fastest = min(kept, key=lambda other: other.p50_ms)
        against = [complaint(one.parity, one.candidate.artifact.precision), *_losses(exact, one, labels, plan)]
        if one.candidate.source:
            trials.append(_of_source(one, [entry for entry in against if entry], plan))
            continue
        if 1 - one.p50_ms / exact.p50_ms < FASTER:
            against.append(f"takes {_pace(one, exact)} ({FASTER:.0%} less is needed)")
        elif one.p50_ms >= fastest.p50_ms:
            against.append(f"takes {_pace(one, fastest)}, which is kept")
        told = "; ".join(entry for entry in against if entry)
        forced = plan.int8 == "on" and one.candidate.artifact.precision == "int8"
        if told and not forced:
            trials.append(_trial(one, kept=False, reason=told))
            continue
        kept.append(one)
        good = f"within {plan.max_drop:g} points, {_pace(one, exact)}"
        trials.append(_trial(one, kept=True, reason=f"forced by --int8 on, although it {told}" if told else good))
    return _one_file_an_engine(trials)


def _of_source(one: Measured, against: Sequence[str], plan: Plan) -> Trial:
    """Judge what a TensorRT engine is built from by its answers alone: how fast the engine is, its GPU will show."""
    forced = plan.int8 == "on" and one.candidate.artifact.precision == "int8"
    told = "; ".join(against)
    if told and not forced:
        return _trial(one, kept=False, reason=told)
    reason = "what the TensorRT engine is built from; not raced, its time here is ONNX Runtime's"
    return _trial(one, kept=True, reason=f"{reason}; forced by --int8 on, although it {told}" if told else reason)


def preference(trials: Sequence[Trial], int8: str, sources: Container[str] = ()) -> list[str]:
    """Return the files that were kept, the preferred first: the fastest, or INT8 where it was forced.

    What another engine is built from comes last.
    """
    kept = [trial for trial in trials if trial.kept]

    def rank(trial: Trial) -> tuple[bool, bool, float]:
        return (trial.file in sources, int8 == "on" and trial.precision != "int8", trial.p50_ms or 0.0)

    return [trial.file for trial in sorted(kept, key=rank)]


def table(trials: Sequence[Trial]) -> list[str]:
    """Lay the trials out for people, a line each."""
    width = max(len(trial.file) for trial in trials)
    head = f"  {'file':<{width}}  {'engine':<11}  {'':<4}  {'bytes':>9}  {'accuracy':>8}  {'agrees':>7}"
    lines = [f"{head}  {'Δlogit':>7}  {'p50 ms':>7}"]
    for trial in trials:
        lines.append(
            f"  {trial.file:<{width}}  {trial.engine:<11}  {trial.precision:<4}  {trial.bytes:>9,}  "
            f"{_figure(trial.accuracy, '.2%'):>8}  {_figure(trial.agreement, '.2%'):>7}  "
            f"{_figure(trial.max_logit_difference, '.2g'):>7}  {_figure(trial.p50_ms, '.3f'):>7}  "
            f"{'kept' if trial.kept else 'left out'}: {trial.reason}"
        )
        if trial.recall:
            shares = ", ".join(f"{label} {share:.2%}" for label, share in trial.recall.items())
            lines.append(f"  {'':<{width}}  recall: {shares}")
    return lines


def _pace(one: Measured, other: Measured) -> str:
    saved = 1 - one.p50_ms / other.p50_ms
    return f"{abs(saved):.1%} {'less' if saved >= 0 else 'more'} time than {other.file}"


def _losses(exact: Measured, one: Measured, labels: Sequence[Label], plan: Plan) -> list[str]:
    """Tell what a file of lower precision loses beyond what is allowed."""
    if one.candidate.artifact.precision != "int8":
        return []
    pictures = len(one.parity.logits)
    if one.parity.accuracy is None or exact.parity.accuracy is None or pictures < LEAST_PICTURES:
        return [f"has {pictures} held-out pictures to be judged on ({LEAST_PICTURES} are needed)"]
    lost = []
    drop = (exact.parity.accuracy - one.parity.accuracy) * 100
    if drop > plan.max_drop + TINY:
        lost.append(f"loses {drop:.2f} points of accuracy ({plan.max_drop:g} are allowed)")
    for label, recall in one.parity.recall.items():
        drop = (exact.parity.recall[label] - recall) * 100
        if drop > 2 * plan.max_drop + TINY:
            lost.append(f"loses {drop:.2f} points of {label} ({2 * plan.max_drop:g} are allowed)")
    return lost + _below_floor(exact.parity.recall, one.parity.recall, labels)


def _below_floor(exact: Mapping[str, float], rounded: Mapping[str, float], labels: Sequence[Label]) -> list[str]:
    """Tell which labels fall below the sensitivity that the card promises, where the float file does not."""
    return [
        f"finds {rounded[label.id]:.2%} of {label.id} (the card promises {label.sensitivity_floor:.2%})"
        for label in labels
        if label.sensitivity_floor is not None and label.id in rounded
        and rounded[label.id] < label.sensitivity_floor <= exact[label.id]
    ]  # fmt: skip


def _one_file_an_engine(trials: Sequence[Trial]) -> list[Trial]:
    """Leave out the float IR where the 8-bit one was kept: the float ONNX file already stands in for both."""
    better = {trial.engine for trial in trials if trial.kept and trial.precision == "int8"}
    return [
        _left_out(trial) if trial.kept and trial.format != "onnx" and trial.precision != "int8"
        and trial.engine in better else trial
        for trial in trials
    ]  # fmt: skip


def _left_out(trial: Trial) -> Trial:
    return replace(trial, kept=False, reason=f"{trial.engine} INT8 is kept in its place; {trial.reason}")


def _trial(one: Measured, *, kept: bool, reason: str) -> Trial:
    artifact, parity = one.candidate.artifact, one.parity
    reason = f"{reason}; {one.candidate.told}" if one.candidate.told else reason
    p50_ms = None if math.isnan(one.p50_ms) else round(one.p50_ms, 4)
    recall = {label: round(share, 6) for label, share in parity.recall.items()}
    return Trial(
        artifact.file, one.candidate.engine, artifact.format, artifact.precision, artifact.all_bytes, kept, reason,
        parity.accuracy, recall, parity.agreement, parity.max_difference, p50_ms,
    )  # fmt: skip


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
