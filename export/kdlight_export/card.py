"""What a person writes about a bundle, in TOML: names of the labels, use, limits and the terms of the data."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kdlight_edge.bundle import check_place
from kdlight_edge.errors import UsageError
from kdlight_edge.manifest import Card, Label, Scans, check_scans
from kdlight_edge.strict import Reader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

READER = Reader("card", UsageError, "add it")


@dataclass(frozen=True, slots=True)
class LabelCard:
    """What is said about one class."""

    text: str = ""
    positive: bool = False
    sensitivity_floor: float | None = None


@dataclass(frozen=True, slots=True)
class CardFile:
    """The whole file."""

    name: str = ""
    version: str = "0.1.0"
    intended_use: str = "not stated"
    not_for: str = "decisions about people or safety: nobody has said what this bundle may be used for"
    data_terms: str = "not stated"
    notes: str = ""
    labels: Mapping[str, LabelCard] = field(default_factory=dict)
    scans: Scans | None = None
    """Modalities and body parts of the scans it may be asked about."""

    @property
    def card(self) -> Card:
        """The part that goes into the manifest as it is."""
        return Card(self.intended_use, self.not_for, self.data_terms, self.notes)


def read_card(file: Path | None) -> CardFile:
    """Read a card; None gives one that states nothing.

    Raises:
        UsageError: the file cannot be read, is not TOML, has an unknown key, a text of more than one line, a floor
            that is no share, or a code that no scan has.
    """
    if file is None:
        return CardFile()
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--card {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--card {file} is not TOML: {error}") from error
    card = READER.record(CardFile, document)
    check_scans(card.scans, "card", UsageError)
    for name, label in card.labels.items():
        READER.check_line(label.text, f"labels.{name}.text")
        floor = label.sensitivity_floor
        if floor is not None and not 0 <= floor <= 1:
            raise UsageError(f"card key 'labels.{name}.sensitivity_floor' is {floor}; it must be from 0 to 1")
    return card


def labels_of(ids: tuple[str, ...], card: CardFile) -> tuple[Label, ...]:
    """Return the manifest's labels, in the order of the logits.

    Raises:
        UsageError: the card names a class that the student does not know.
    """
    for name in card.labels:
        if name not in ids:
            raise UsageError(f"the card names the label {name}; the student knows {', '.join(ids)}")
    stated = {name: card.labels.get(name, LabelCard()) for name in ids}
    return tuple(
        Label(name, entry.text or name.replace("_", " "), entry.positive, entry.sensitivity_floor)
        for name, entry in stated.items()
    )


def check_out(out: Path, card: CardFile) -> None:
    """Refuse, before the work, a place that cannot take the bundle, and what a manifest refuses as name or version.

    Raises:
        UsageError: the place has another ending, or the name or version cannot be shown.
        BundleError: something else is there, or it cannot be written.
    """
    if out.suffix != ".kdl":
        raise UsageError(f"--out {out} must end in .kdl")
    name = card.name or out.stem
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the bundle's name {name!a} is not UTF-8; choose another --out, or give --name") from error
    for what, text in (("name", name), ("version", card.version)):
        if not text.isprintable():
            raise UsageError(f"the bundle's {what} {text!a} holds what cannot be shown in a line; choose another")
    check_place(out)
