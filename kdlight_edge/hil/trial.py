"""One scenario on this board, with everything a figure needs beside it: the same code for accuracy, speed and power."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any

from kdlight_devices.fingerprint import fingerprint, versions
from kdlight_devices.kernel import read
from kdlight_edge import fresh, scenarios
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import Classifier, open_classifier
from kdlight_edge.decide import Settings
from kdlight_edge.errors import UsageError
from kdlight_edge.evaluation import evaluate
from kdlight_edge.hil.live import faults_of, series, watch_camera
from kdlight_edge.hil.vigil import Vigil
from kdlight_edge.labelled import Labelled, labels_of
from kdlight_edge.scenarios import Effort

SCHEMA = "kdlight-edge/trial/1"

NAMES = {
    "a": "model only",
    "b": "bytes to result",
    "c": "camera with faults",
    "d": "offline folder",
    "e": "soak",
}
"""Scenario to its name for people."""

FOLDER_FILES = 256
"""Files of the folder whose run is weighed, as in ``bench``."""

ACCURACY = ("n", "accuracy", "ci95", "balanced_accuracy", "ece", "per_class", "coverage", "abstained", "outliers")
"""What is kept of an evaluation, beside how many pictures could not be read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a board."""

    model: str
    engine: str
    threads: int
    effort: Effort
    data: Sequence[str] = ()
    """Folders of labelled pictures, judged in scenario A by the very classifier that is timed."""
    cold_starts: int = 7


def run(scenario: str, plan: Plan) -> dict[str, Any]:
    """Run one scenario.

    Returns:
        Plain JSON types: ``schema``, ``scenario``, ``date``, ``machine``, ``versions``, ``boot`` (of the kernel),
        ``bundle``, ``engine``, ``precision``, ``threads``, ``golden`` (largest |Δlogit| and what is allowed),
        ``figures`` (of the scenario), ``board`` (what `Vigil` saw while they were measured), ``labels`` (UNSTABLE,
        THROTTLED) and ``joules`` (of one answer, where the board has a meter; scenarios A and B).

    Raises:
        UsageError: there is no such scenario.
        DataError: the pictures of ``plan.data`` are not of the bundle's labels.
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"there is no scenario {scenario}; choose of {', '.join(NAMES)}")
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    threads = plan.threads if scenario != "d" else 1
    ids = [label.id for label in open_bundle(plan.model).manifest.labels]
    # Pictures that cannot be judged are told now, not after the time it takes to measure.
    album = Labelled(labels_of(plan.data, ids, None)) if plan.data else None
    settings = Settings(topk=len(ids))
    with open_classifier(plan.model, engine=plan.engine, threads=threads, settings=settings) as classifier:
        difference = classifier.verify()
        times: list[float] = []
        vigil = Vigil()
        with vigil:
            figures = SCENARIOS[scenario](classifier, plan, times)
        # Accuracy and cold starts have no place in a span whose power is measured, and share its configuration.
        figures |= _beside(scenario, classifier, plan, album)
        seen = vigil.report()
        return {
            "schema": SCHEMA,
            "scenario": scenario,
            "date": begun,
            "machine": fingerprint(),
            "versions": versions(),
            "boot": read(Path("/proc/sys/kernel/random/boot_id")).strip() or None,
            **_what(classifier, threads),
            "golden": {
                "largest_difference": difference,
                "allowed": classifier.bundle.manifest.golden.allowed(classifier.engine.artifact.file),
            },
            "figures": figures,
            "board": seen,
            "joules": vigil.joules(times) if times else None,
            "labels": _marks(figures, seen),
        }


def _what(classifier: Classifier, threads: int) -> dict[str, Any]:
    manifest, artifact = classifier.bundle.manifest, classifier.engine.artifact
    return {
        "bundle": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "bytes": classifier.bundle.bytes,
            "input": [manifest.input.width, manifest.input.height],
        },
        "engine": classifier.engine.name,
        "engine_sha256": artifact.sha256,
        "precision": artifact.precision,
        "exported_accuracy": artifact.accuracy,
        "threads": threads,
    }


def _a(classifier: Classifier, plan: Plan, times: list[float]) -> dict[str, Any]:
    found = scenarios.model_only(classifier, plan.effort, times)
    return {"model": found, "series": _series(times)}


def _b(classifier: Classifier, plan: Plan, times: list[float]) -> dict[str, Any]:
    found = {}
    for width, height in scenarios.SIZES:
        times.clear()  # power is told of the last and larger size
        pictures = scenarios.encoded_pictures(width, height, plan.effort.pictures)
        found[f"{width}x{height}"] = scenarios.bytes_to_result(classifier, pictures, plan.effort, times)
    return {"bytes_to_result": found, "series": _series(times)}


def _c(classifier: Classifier, plan: Plan, times: list[float]) -> dict[str, Any]:
    del times
    seconds = plan.effort.seconds
    return {"camera": watch_camera(classifier, _views(plan), seconds, faults_of(seconds))}


def _d(classifier: Classifier, plan: Plan, times: list[float]) -> dict[str, Any]:
    del times
    found = {}
    for width, height in scenarios.SIZES:
        pictures = scenarios.encoded_pictures(width, height, plan.effort.pictures)
        with tempfile.TemporaryDirectory(prefix="kdlight-folder-") as folder:
            found[f"{width}x{height}"] = scenarios.throughput(classifier, pictures, plan.effort, Path(folder))
    return {"throughput": found}


def _e(classifier: Classifier, plan: Plan, times: list[float]) -> dict[str, Any]:
    del times
    return {"camera": watch_camera(classifier, _views(plan), plan.effort.seconds, ())}


SCENARIOS: dict[str, Callable[[Classifier, Plan, list[float]], dict[str, Any]]] = {
    "a": _a, "b": _b, "c": _c, "d": _d, "e": _e,
}  # fmt: skip
"""Key of `NAMES` to what measures it."""


def _views(plan: Plan) -> list[bytes]:
    """Return a camera's pictures, no two neighbours alike."""
    return scenarios.encoded_pictures(640, 480, max(2, plan.effort.pictures))


def _beside(scenario: str, classifier: Classifier, plan: Plan, album: Labelled | None) -> dict[str, Any]:
    """Return what is measured once beside a scenario: accuracy with A, cold starts and memory with D."""
    if scenario == "a" and album is not None:
        record = evaluate(classifier, album)
        return {"accuracy": {key: record[key] for key in ACCURACY} | {"unreadable": record["unreadable"]["count"]}}
    if scenario != "d":
        return {}
    pictures = scenarios.encoded_pictures(640, 480, plan.effort.pictures)
    engine = classifier.engine.name
    return {
        "cold_start_ms": fresh.cold_start_ms(plan.model, pictures[0], engine=engine, repeats=plan.cold_starts),
        "peak_rss_bytes": fresh.folder_peak_rss(plan.model, pictures, engine=engine, count=FOLDER_FILES),
    }


def _series(times: Sequence[float]) -> list[list[float]]:
    stamps = [0.0, *(total / 1000 for total in accumulate(times))]
    return series(stamps, times)


def _marks(figures: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    """Return the labels of a run; a labelled run is told like any other."""
    timed = [figures[key] for key in ("model",) if key in figures] + list(figures.get("bytes_to_result", {}).values())
    marks = ["UNSTABLE"] if any(found["unstable"] for found in timed) else []
    return [*marks, "THROTTLED"] if seen["throttled_by"] or seen["throttled_seconds"] else marks
