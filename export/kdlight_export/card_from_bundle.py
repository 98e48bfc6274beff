"""What a bundle says about itself, back to the card that says it: to build the bundle for other boards."""

from pathlib import Path

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_export.card import CardFile, LabelCard


def card_from_bundle(bundle: Bundle) -> CardFile:
    """Return what the bundle's card and labels say, as the card that would say it again."""
    manifest = bundle.manifest
    labels = {label.id: LabelCard(label.text, label.positive, label.sensitivity_floor) for label in manifest.labels}
    card = manifest.card
    return CardFile(
        manifest.name, manifest.version, card.intended_use, card.not_for, card.data_terms, card.notes, labels,
        manifest.scans,
    )  # fmt: skip


def open_exported(path: Path) -> Bundle | None:
    """Return the bundle at a path, None where there is something else."""
    return open_bundle(path) if (path / "manifest.json").exists() else None
