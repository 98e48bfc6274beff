"""A bundle whose files stay and whose card is another: what a person says of it needs no pictures."""

import dataclasses
from pathlib import Path

from kdlight_edge.bundle import Bundle, write_bundle
from kdlight_edge.errors import UsageError
from kdlight_export.card import CardFile, check_out, labels_of


def recard(bundle: Bundle, out: Path, card: CardFile) -> Bundle:
    """Write a bundle once more with another card: name, version, uses, terms, texts of the labels, scans.

    Args:
        bundle: the opened bundle; networks, thresholds, golden pictures and provenance stay.
        out: where the new one shall stand; the bundle's own place will do.
        card: what to say of it; without a name it keeps its own.

    Raises:
        UsageError: the card names an unknown label, or promises another sensitivity than the thresholds were fitted to.
        BundleError: it cannot be written.
    """
    check_out(out, card)
    manifest = bundle.manifest
    labels = labels_of(tuple(label.id for label in manifest.labels), card)
    for old, new in zip(manifest.labels, labels, strict=True):
        if new.sensitivity_floor != old.sensitivity_floor:
            raise UsageError(
                f"the card's sensitivity_floor of {old.id} is {_told(new.sensitivity_floor)} and the bundle's "
                f"{_told(old.sensitivity_floor)}; thresholds are fitted to it on pictures: add --data"
            )
    names = [name for one in manifest.artifacts for name in (one.file, *(part.file for part in one.parts))]
    changed = dataclasses.replace(
        manifest, name=card.name or manifest.name, version=card.version, labels=labels, card=card.card, scans=card.scans
    )
    return write_bundle(out, changed, {name: (bundle.path / name).read_bytes() for name in names})


def _told(floor: float | None) -> str:
    return "not stated" if floor is None else str(floor)
