"""Where a board's store lies: in memory where the disk takes nothing at the start, as a dead card must silence none."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from kdlight_edge import durable
from kdlight_edge.errors import KDLightError
from kdlight_edge.plain import home_of
from kdlight_edge.sinks.store import Store
from kdlight_edge.sources import tell

BATCH = 1000
"""Texts that are brought from memory to the disk at a time."""


def default_path(device: str) -> Path:
    """Return where a device's store lies: systemd's state folder of the service, else the user's."""
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state) / f"mqtt-{device}.sqlite"
    home = os.environ.get("XDG_STATE_HOME") or home_of("--mqtt-store") / ".local" / "state"
    return Path(home) / "kdlight-edge" / f"mqtt-{device}.sqlite"


def open_store(path: Path, *, live: bool, report: Callable[[str], None] = tell) -> Store:
    """Open a store; of a camera's service one in its folder in memory, until a later start finds the disk well.

    Raises:
        KDLightError: as `Store`, where it is no sick disk, or there is no such folder.
    """
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    spare = Path(runtime) / f"spare-{path.name}" if runtime else None
    try:
        store = Store(path)
    except KDLightError as error:
        if not live or spare is None or not _is_sick(error.__cause__):
            raise
        why = error.__cause__
        said = why.strerror if isinstance(why, OSError) else why
        report(f"mqtt: {path} cannot be written: {said}; results wait in memory instead, until the next boot at most")
        return Store(spare)
    if spare is not None and spare.exists():
        with contextlib.suppress(KDLightError):  # of no more use, or the disk is sick again: the next start looks anew
            _bring(spare, store)
    return store


def _is_sick(cause: BaseException | None) -> bool:
    return isinstance(cause, sqlite3.OperationalError) or durable.is_sick(cause)


def _bring(spare: Path, store: Store) -> None:
    """Put what waits in memory behind what waits on the disk, with the ids under which it may have been sent."""
    waiting = Store(spare)
    try:
        brought = 0
        while batch := waiting.after(brought, BATCH):  # also where the memory has no room to take them out
            for number, text in batch:
                store.put(f"{waiting.name}-{number} {text}")
            brought = batch[-1][0]
            # Cut off before this they come again, under the same ids.
            waiting.take(number for number, _ in batch)
            waiting.checkpoint()
    finally:
        waiting.close()
    store.checkpoint()
    for end in ("", "-wal", "-shm", ".lock"):
        Path(f"{spare}{end}").unlink(missing_ok=True)
