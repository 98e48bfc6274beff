"""What a benchmark of a board adds up to: its figures in one list, its budget, and the difference to known boards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from kdlight_devices.detect import BOARDS
from kdlight_edge.errors import UsageError

from .reference import Row, compare

Trial = dict[str, Any]


class Figure(NamedTuple):
    """One number that can be compared."""

    name: str
    value: float
    unit: str
    better: str = "lower"


BUDGET_KEYS = {
    "p50_ms": "a.p50", "p90_ms": "a.p90", "p99_ms": "a.p99", "age_p99_ms": "c.age_p99", "bundle_mb": "bundle",
    "rss_mb": "d.peak_memory", "j_per_inf": "a.joules", "cold_start_ms": "d.cold_start",
    "acc_drop": "a.accuracy_drop", "recall_floor": "a.lowest_recall",
}  # fmt: skip
"""Key of a budget file to the figure it bounds; a floor is a bound from below."""


def figures(trial: Trial) -> list[Figure]:
    """Return the figures of one trial; what its samples do not prove is not among them."""
    found, letter = trial["figures"], trial["scenario"]
    listed: list[Figure] = []
    if letter == "a":
        listed += _times("a", found["model"])
        listed += [Figure("bundle", trial["bundle"]["bytes"] / 1e6, "MB"), *_accuracy(trial)]
    for size, times in found.get("bytes_to_result", {}).items():
        listed += _times(f"b.{size}", times)
    if "camera" in found:
        camera = found["camera"]
        listed += [Figure(f"{letter}.age_{one.name[2:]}", *one[1:]) for one in _times("x", camera["age_ms"])]
        backs = [fault["back_s"] for fault in camera["faults"] if fault["back_s"] is not None]
        listed += [Figure(f"{letter}.back", max(backs), "s")] if backs else []
    for size, run in found.get("throughput", {}).items():
        listed.append(Figure(f"d.{size}", run["images_per_second"], "images/s", "higher"))
    if "cold_start_ms" in found:
        listed.append(Figure("d.cold_start", found["cold_start_ms"]["median"], "ms"))
        listed.append(Figure("d.peak_memory", found["peak_rss_bytes"] / 1e6, "MB"))
    if trial["joules"] is not None:
        listed.append(Figure(f"{letter}.joules", trial["joules"], "J"))
    return listed


def _times(name: str, found: Mapping[str, Any]) -> list[Figure]:
    return [Figure(f"{name}.{key}", found[key], "ms") for key in ("p50", "p90", "p99") if found[key] is not None]


def _accuracy(trial: Trial) -> list[Figure]:
    judged = trial["figures"].get("accuracy")
    if judged is None:
        return []
    recalls = [one["sensitivity"] for one in judged["per_class"].values()]
    listed = [Figure("a.accuracy", judged["accuracy"], "", "higher")]
    listed += [Figure("a.lowest_recall", min(recalls), "", "higher")] if None not in recalls else []
    if trial["exported_accuracy"] is not None:
        listed.append(Figure("a.accuracy_drop", trial["exported_accuracy"] - judged["accuracy"], ""))
    return listed


def read_budget(file: Path) -> dict[str, float]:
    """Read a budget of one's own, a JSON object with keys of `BUDGET_KEYS`.

    Raises:
        UsageError: it cannot be read, or has another key or a value that is no number.
    """
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--budget {file} cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise UsageError(f"--budget {file} is no JSON object")
    for key, value in given.items():
        if key not in BUDGET_KEYS:
            raise UsageError(f"--budget {file} has the unknown key {key}; there are {', '.join(BUDGET_KEYS)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"--budget {file}: {key} is no number")
    return given


def budget_rows(trials: Sequence[Trial], own: Mapping[str, float] | None) -> dict[str, Any] | None:
    """Hold the figures, with the clocks as deployed, against a budget of one's own or the board's; None without one.

    Returns:
        ``source`` and ``rows`` (what, measured, allowed, met). A bound whose figure was not measured, or not proved by
        its samples, is not met, and ``measured`` is None.
    """
    measured = {one.name: one.value for trial in trials if trial["clocks"] == "deployed" for one in figures(trial)}
    if own is not None:
        bounds, source = {BUDGET_KEYS[key]: value for key, value in own.items()}, "a budget file"
    else:
        known = (
            next((board for board in BOARDS if board.name == trials[0]["machine"]["board"]), None) if trials else None
        )
        if known is None or known.budget is None:
            return None
        size = trials[0]["bundle"]["input"]
        bounds = {"a.p50": known.budget.p50_ms(*size), "bundle": known.budget.bundle_bytes / 1e6}
        bounds["d.peak_memory"] = known.budget.rss_bytes / 1e6
        if "a.p99" in measured:  # --quick takes too few samples for one
            bounds["a.p99"] = known.budget.p99_ms(*size)
        run = {trial["scenario"] for trial in trials}
        # A board's own budget bounds what was asked for; a scenario left out is no missed budget.
        bounds = {name: bound for name, bound in bounds.items() if (name[0] if "." in name else "a") in run}
        source = f"{known.name}, {known.budget.source}"
    rows = [
        {
            "what": name,
            "measured": measured.get(name),
            "allowed": allowed,
            "met": _met(name, measured.get(name), allowed),
        }
        for name, allowed in bounds.items()
    ]
    return {"source": source, "rows": rows}


def _met(name: str, value: float | None, bound: float) -> bool:
    if value is None:
        return False
    return value >= bound if name == "a.lowest_recall" else value <= bound


def reference_rows(trials: Sequence[Trial], command: str) -> list[Row]:
    """Return the figures as rows for ``devices/reference/``."""
    return [
        Row(
            trial["machine"]["board"],
            trial["machine"]["cpu"] or "",
            trial["machine"]["power_mode"] or "",
            trial["clocks"],
            trial["bundle"]["name"],
            trial["bundle"]["digest"][:16],
            trial["engine"],
            trial["precision"],
            str(trial["threads"]),
            one.name,
            float(f"{one.value:.5g}"),
            one.unit,
            one.better,
            " ".join(trial["labels"]),
            trial["versions"].get("kdlight-edge", ""),
            trial["date"],
            command,
        )
        for trial in trials
        for one in figures(trial)
    ]


def compared(trials: Sequence[Trial], references: Sequence[Row]) -> list[dict[str, Any]]:
    """Return every figure that a known board of the same kind has, beside that board's."""
    return [asdict(one) for one in compare(reference_rows(trials, ""), references)]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Tell what is different between two fingerprints, one line each."""
    told = []
    for part in ("machine", "versions"):
        one, other = before[part], after[part]
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        told += [f"{name} was {one.get(name)} and is {other.get(name)}" for name in names]
    return told
