"""Whether a scan is one that a bundle may be asked about: a network answers anything, also a CT with a chest X-ray."""

from collections.abc import Mapping
from typing import Any

from kdlight_edge.manifest import Scans

Told = Mapping[str, Any]
"""What a source tells of a scan, in ``meta["scan"]``."""


def unsuited(scan: Told, wanted: Scans | None) -> str:
    """Return why a scan must not be answered, or an empty string.

    A scan without the tags is answered: `noted` says that they were not there to be checked.
    """
    for name, found, codes in _checks(scan, wanted):
        if codes and found is not None and found not in codes:
            return f"{name} {found} is not one that this bundle was made for ({', '.join(codes)})"
    return ""


def noted(scan: Told, wanted: Scans | None) -> Told:
    """Return what is told of a scan, with a note for each thing that could not be checked."""
    if wanted is None:
        return {**scan, "notes": ["modality and body part not checked: the card of this bundle has no [scans]"]}
    notes = [
        f"{name} not stated by a known code, so not checked against {', '.join(codes)}"
        for name, found, codes in _checks(scan, wanted)
        if codes and found is None
    ]
    return {**scan, "notes": notes}


def _checks(scan: Told, wanted: Scans | None) -> tuple[tuple[str, str | None, tuple[str, ...]], ...]:
    if wanted is None:
        return ()
    return (
        ("modality", scan["modality"], wanted.modalities),
        ("body part", scan["body_part"], wanted.body_parts),
    )
