"""What a device knows about its versions: the good ones, the one on probation, those that failed; one small file."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.strict import Reader

SCHEMA = "kdlight-edge/update/1"
READER = Reader("ledger", BundleError, "it is written anew")

KEPT_GOOD = 2
"""Good versions that are kept: the one that serves and the one before it."""
KEPT_FAILED = 16
"""Failed versions that are remembered."""

STARTS_IN_A_BOOT = 1
"""Starts of a version on probation without an orderly end between them; one more, and it has failed: it fell over or
hung."""
BOOTS = 3
"""Boots that a version on probation is started in; in one more, and it has failed: two power cuts are no fault of the
version, for ever they are."""


@dataclass(frozen=True, slots=True)
class Probation:
    """A version that serves and has not proved itself yet."""

    version: str
    seconds: float
    """Time of real work that proves it."""
    boot: str = ""
    """The kernel's id of the boot that it was last started in."""
    starts: int = 0
    """Starts in this boot that did not end in order."""
    boots: int = 0
    """Boots that it was started in."""


@dataclass(frozen=True, slots=True)
class Last:
    """What happened last, for people."""

    at: str
    """UTC, ISO 8601."""
    what: str
    """``applied``, ``proved``, ``refused`` or ``rolled back``."""
    version: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is remembered; which version serves is told by the link, not here."""

    schema: str = SCHEMA
    good: tuple[str, ...] = ()
    """Versions that proved themselves, the newest first; without any, the bundle installed with the service."""
    probation: Probation | None = None
    failed: tuple[str, ...] = ()
    """Versions that were rolled back, and are not taken again unless asked for."""
    seen: str = ""
    """Latest UTC time at which signatures were judged: a clock before it is wrong, or that one was ahead."""
    last: Last | None = None


def read(text: str) -> Ledger:
    """Read a ledger; one that cannot be read is an empty one: the link alone keeps a device running."""
    try:
        ledger = READER.record(Ledger, json.loads(text))
    except (KDLightError, ValueError, RecursionError):
        return Ledger()
    return ledger if ledger.schema == SCHEMA else Ledger()


def to_text(ledger: Ledger) -> str:
    """Return what `read` takes."""
    record: dict[str, Any] = dataclasses.asdict(ledger)
    return json.dumps(record, indent=1) + "\n"


def begun(ledger: Ledger, version: str, seconds: float, serving: str | None) -> Ledger:
    """Put a version on probation, after which ``serving`` is gone back to; None for the bundle of the installation.

    What serves now is good, also where the ledger was lost.
    """
    good = ledger.good if serving is not None else ()
    unproved = ledger.probation.version if ledger.probation else None
    if serving is not None and serving not in {version, unproved, *good, *ledger.failed}:
        good = (serving, *good)[:KEPT_GOOD]
    return dataclasses.replace(
        ledger, good=good, probation=Probation(version, seconds), failed=_without(ledger.failed, version)
    )


def started(ledger: Ledger, boot: str) -> Ledger:
    """Count a start of the version on probation."""
    held = ledger.probation
    if held is None:
        return ledger
    if held.boot == boot:
        held = dataclasses.replace(held, starts=held.starts + 1)
    else:
        held = dataclasses.replace(held, boot=boot, starts=1, boots=held.boots + 1)
    return dataclasses.replace(ledger, probation=held)


def fell(probation: Probation) -> str:
    """Return why a version that is about to be started has failed already; empty where it has not."""
    if probation.starts > STARTS_IN_A_BOOT:
        return f"it fell over or hung before it had worked for {probation.seconds:.0f} s"
    if probation.boots > BOOTS:
        return f"the board was started {BOOTS} times before it had worked for {probation.seconds:.0f} s"
    return ""


def ended(ledger: Ledger, version: str) -> Ledger:
    """Take an orderly end: the next start is no sign of a fault."""
    held = ledger.probation
    if held is None or held.version != version or not held.starts:
        return ledger
    return dataclasses.replace(ledger, probation=dataclasses.replace(held, starts=0))


def proved(ledger: Ledger, version: str) -> Ledger:
    """End the probation well."""
    good = (version, *_without(ledger.good, version))[:KEPT_GOOD]
    return dataclasses.replace(ledger, good=good, probation=None)


def rolled_back(ledger: Ledger, version: str) -> Ledger:
    """Let go of a version that serves, on probation or not; ``good[0]`` is what serves next."""
    failed = (version, *_without(ledger.failed, version))[:KEPT_FAILED]
    return dataclasses.replace(ledger, good=_without(ledger.good, version), probation=None, failed=failed)


def _without(versions: tuple[str, ...], version: str) -> tuple[str, ...]:
    return tuple(other for other in versions if other != version)
