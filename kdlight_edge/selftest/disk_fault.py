"""A disk that is full for a while, by a limit on the size of files that the kernel holds the run to: no root needed."""

import json
import resource
import time
from pathlib import Path

from kdlight_edge.selftest.bench import SETTLED, Bench, finish
from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.child import infer
from kdlight_edge.selftest.outcome import Found, Wrong

ROOM = 2000
"""Bytes that fit behind what is there: the line after a few is torn in its middle."""


def disk(bench: Bench) -> Found:
    """Let no file grow for a while: classification goes on, it is told, and lines are written again afterwards."""
    file = bench.folder / "results.jsonl"
    with Camera() as camera, infer(camera.uri, bench.model, "--json-file", str(file)) as run:
        run.more(SETTLED)
        run.wait(lambda: file.exists() and file.stat().st_size > 0, "lines in the file")
        _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (file.stat().st_size + ROOM, hard))
        run.wait(lambda: run.said("cannot be written") is not None, "word of a file that cannot be written")
        run.more(3 * SETTLED, "results while the disk is full")
        full = file.stat().st_size
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        mended = time.monotonic()
        run.wait(lambda: file.stat().st_size > full, "lines in the file after there was room")
        back = time.monotonic() - mended
        run.more(SETTLED)
        figures = finish(run, camera)
    kept = _indexes(file)
    given = [record["index"] for record in run.records]
    if kept != sorted(set(kept)) or not set(kept) <= set(given) or kept[-1] != given[-1]:
        raise Wrong(f"of {len(given)} results the file has {len(kept)}, some twice, out of order, or not the last")
    return Found(
        f"{len(given)} answered, {len(kept)} whole lines kept, {len(given) - len(kept)} lost while it was full; "
        f"written again after {back:.1f} s",
        {**figures, "kept": len(kept), "recovery_seconds": round(back, 2)},
    )


def _indexes(file: Path) -> list[int]:
    try:
        return [json.loads(line)["index"] for line in file.read_text(encoding="ascii").splitlines()]
    except ValueError as error:
        raise Wrong(f"{file.name} holds a line that is not whole: {error}") from error
