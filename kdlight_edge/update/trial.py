"""What a candidate must show on this device before it may serve: golden pictures, budget, decisions in the shadow."""

import contextlib
import json
import math
import resource
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from kdlight_devices.board import Board
from kdlight_edge import durable, fresh, scenarios
from kdlight_edge.bundle import Bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.errors import BudgetExceeded, BundleError, KDLightError
from kdlight_edge.update.state import State

SERIES = 5
"""Series at most, of which the fastest counts: the service beside it takes the processor now and then."""

EFFORT = scenarios.Effort(seconds=0.3, samples=662, warm_limit=1.0, pictures=16)
"""As many samples as a p99 needs (MLPerf's rule)."""

DISTURBED = 0.005
"""Share of a series' runs that others may have broken into, by taking the processor, where its p99 is to count: more of
them than the half of a hundredth would be the p99 themselves, and say nothing of the bundle."""

MEMORY_FILES = 32
"""Files of the folder whose run is weighed."""

SHADOW_SECONDS = 60.0
"""How long the service may take to begin, and a frame more after each; a service that stands still is none."""


def check_board(bundle: Bundle, board: Board) -> None:
    """Refuse a bundle that was made for other boards.

    Raises:
        BundleError: its budgets name boards and not this one.
    """
    manifest = bundle.manifest
    if manifest.budgets and board.name not in manifest.budgets:
        made = ", ".join(manifest.budgets)
        raise BundleError(
            f"{manifest.name} {manifest.version} was made for {made}, and this is {board.name}; refused: "
            f"export it with --target {board.name}"
        )


def check_budget(classifier: Classifier, board: Board) -> dict[str, float]:
    """Measure a candidate here and hold it to the board's budget and to the one it was exported with.

    Returns:
        What was measured: ``p50_ms``, ``p99_ms``, ``bytes`` and ``rss_bytes``, as far as the budget bounds them and the
        machine let them be measured (see `DISTURBED`); empty where there is no budget.

    Raises:
        BudgetExceeded: it is slower or larger.
    """
    bundle = classifier.bundle
    width, height = bundle.manifest.input.width, bundle.manifest.input.height
    allowed: dict[str, float] = {}
    if board.budget is not None:
        allowed = {
            "p50_ms": board.budget.p50_ms(width, height),
            "p99_ms": board.budget.p99_ms(width, height),
            "bytes": board.budget.bundle_bytes,
            "rss_bytes": board.budget.rss_bytes,
        }
    elif (own := bundle.manifest.budgets.get(board.name)) is not None:
        allowed = {"p50_ms": own.p50_ms, "bytes": own.bytes}
    else:
        return {}
    pictures = scenarios.encoded_pictures(224, 224, EFFORT.pictures)
    found: dict[str, float] = {"bytes": bundle.bytes, **_times(classifier, allowed)}
    if "rss_bytes" in allowed:
        found["rss_bytes"] = fresh.folder_peak_rss(
            bundle.path, pictures, engine=classifier.engine.name, count=MEMORY_FILES
        )
    over = [
        f"{name} is {found[name]:g}, allowed {limit:g}"
        for name, limit in allowed.items()
        if found.get(name, 0.0) > limit
    ]
    if over:
        raise BudgetExceeded(
            f"{bundle.manifest.name} {bundle.manifest.version} misses the budget of {board.name}: {'; '.join(over)}"
        )
    return found


def _times(classifier: Classifier, allowed: Mapping[str, float]) -> dict[str, float]:
    """Return the lowest median and the lowest undisturbed p99 of several series, as far as there are bounds."""
    median = tail = math.inf
    for number in range(SERIES):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        seen = scenarios.model_only(classifier, EFFORT)
        taken = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before
        median = min(median, float(seen["p50"]))
        if taken <= DISTURBED * seen["n"]:
            tail = min(tail, float(seen["p99"]))
        undecided = tail > allowed.get("p99_ms", math.inf) and (math.isfinite(tail) or number == 0)
        if median <= allowed["p50_ms"] and not undecided:
            break
    return {"p50_ms": median, **({"p99_ms": tail} if "p99_ms" in allowed and math.isfinite(tail) else {})}


def shadow(state: State, bundle: Bundle, frames: int, agreement: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Ask the running service to compare a candidate's decisions with its own on the next frames.

    Raises:
        KDLightError: no service runs, or it gives no frames.
        BundleError: too many decisions differ.
    """
    running = state.running()
    if running is None or not running["alive"]:
        raise KDLightError("--shadow needs the service, which does not run; start it, or leave --shadow out")
    number = uuid.uuid4().hex
    request = {"id": number, "model": str(bundle.path.relative_to(state.folder)), "frames": frames}
    durable.remove(state.shadow_answer)
    durable.write_text(state.shadow_request, json.dumps(request) + "\n")
    try:
        told = _answer(state, number, SHADOW_SECONDS + frames)
    finally:
        durable.remove(state.shadow_request)
        durable.remove(state.shadow_answer)
    share = told["same"] / told["frames"] if told["frames"] else 0.0
    text = f"{told['same']} of {told['frames']} decisions are the same"
    tell(f"in the shadow of the version that serves, {text}")
    if share < agreement:
        most = ", ".join(f"{what} ({count})" for what, count in told["differences"].items())
        raise BundleError(f"in the shadow {text}, fewer than --agreement {agreement:g}: {most}; look at its pictures")
    return told


def _answer(state: State, number: str, patience: float) -> dict[str, Any]:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads(state.shadow_answer.read_text(encoding="utf-8"))
            if told.get("id") == number:
                if "error" in told:
                    raise BundleError(f"the service could not open the candidate in its shadow: {told['error']}")
                return told
        if not (state.running() or {}).get("alive"):
            raise KDLightError("the service ended while a candidate was in its shadow; try again when it runs")
        time.sleep(0.1)
    raise KDLightError(f"the service gave no answer about its shadow in {patience:.0f} s; has its camera frames?")
