"""What a fault is injected into: a run on the generated camera, and how its results are counted."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.child import Run
from kdlight_edge.selftest.outcome import Wrong

SETTLED = 10
"""Results after which a run is under way, and after a fault is again."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where faults are injected."""

    model: str
    """The bundle."""
    folder: Path
    """Empty, for whatever a fault needs on the disk."""


def finish(run: Run, camera: Camera) -> dict[str, int]:
    """Let the camera be quiet, end the run and count: each whole picture was answered once, or counted as dropped.

    Raises:
        Wrong: the numbers do not agree, an answer came twice or out of order, or the run did not end well.
    """
    camera.switch("quiet")
    # What was sent in the very moment of the switch is counted a moment later.
    run.wait(lambda: counted(run) >= camera.sent, f"a result for each of the {camera.sent} pictures")
    errors = sum(record["decision"] == "error" for record in run.records)
    code = run.stop()
    indexes = [record["index"] for record in run.records]
    if code != (1 if errors else 0):
        raise Wrong(f"the run ended with exit code {code}")
    if run.torn:
        raise Wrong(f"{run.torn} lines on stdout were not whole")
    if any(after <= before for before, after in itertools.pairwise(indexes)):
        raise Wrong("a picture was answered twice or out of order")
    if counted(run) != camera.sent or indexes[-1] + 1 != camera.sent:
        raise Wrong(f"{camera.sent} pictures were sent, {counted(run)} counted, the last with index {indexes[-1]}")
    return {"sent": camera.sent, "answered": len(run.records), "dropped": counted(run) - len(run.records)}


def counted(run: Run) -> int:
    """Return how many pictures the results speak of: themselves, and those they say were dropped before them."""
    return len(run.records) + sum(int(record["dropped"]) for record in run.records)
