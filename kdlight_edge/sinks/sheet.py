"""The contact sheet: a run at a glance, as one PNG with the pictures, the answers and where in the picture they lie."""

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.evidence import evidence, glow, shown_class
from kdlight_edge.frame import Frame
from kdlight_edge.prepare import prepare, prepare_input
from kdlight_edge.sinks import ink
from kdlight_edge.tally import truth_of

TILE, PAD, CAPTION, GAP, MARGIN, HEAD, ROUND = 232, 10, 56, 16, 40, 128, 10
"""Pixels: side of a picture, card around it, words below it, space between cards, border, title, corner radius."""

COLUMNS = 6
"""Cards beside one another."""

ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp")

CARD_WIDTH, CARD_HEIGHT = TILE + 2 * PAD, TILE + PAD + CAPTION

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture kept for the sheet."""

    picture: ink.Picture
    """uint8 [TILE, TILE, 3]: what the network saw, but sharper."""
    batch: npt.NDArray[np.uint8]
    """uint8 [H, W, 3]: what the network saw."""
    prediction: Prediction
    truth: str | None


class Sheet:
    """Keeps pictures spread evenly over a run of any length, and draws them at the end."""

    wants_frames = True

    def __init__(self, path: str | os.PathLike[str], classifier: Classifier, *, tiles: int = 24) -> None:
        """Begin a sheet.

        Args:
            path: of the file; its ending chooses PNG, JPEG or WebP, without one it is PNG.
            classifier: asked for the class activation maps of the pictures on the sheet; must be open at `close`.
            tiles: how many pictures at most.

        Raises:
            UsageError: another ending.
            KDLightError: no file can be made there; told before the run and not after it.
        """
        self._path = Path(path)
        if self._path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: a contact sheet is a .png, .jpg or .webp file")
        self._check_place()
        self._classifier = classifier
        self._room = tiles
        self._kept: list[Tile] = []
        self._stride = 1
        self._seen = self._unreadable = self._judged = self._right = 0
        self._started = time.monotonic()
        self._closed = False

    def _check_place(self) -> None:
        there = self._path.exists()
        if there and not self._path.is_file() and not self._path.is_dir():
            return  # who reads from a pipe would take the trial for all of it
        try:
            with self._path.open("ab"):
                pass
            if not there:
                self._path.resolve().unlink()  # a run without a picture leaves no sheet
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> KDLightError:
        return KDLightError(f"{self._path} cannot be written: {error.strerror}; choose another place")

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a picture; every n-th is kept, and n doubles whenever twice too many are."""
        if frame is None:
            self._unreadable += 1
            return
        manifest = self._classifier.bundle.manifest
        truth = truth_of(frame.meta, [label.id for label in manifest.labels])
        if truth is not None:
            self._judged += 1
            self._right += truth == prediction.label
        if self._seen % self._stride == 0:
            shown = dataclasses.replace(manifest.input, width=TILE, height=TILE, colour="rgb", interpolation="area")
            self._kept.append(
                Tile(prepare_input(frame.image, shown), prepare(frame.image, manifest), prediction, truth)
            )
            if len(self._kept) == 2 * self._room:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def close(self) -> None:
        """Draw and write the sheet, unless there was no picture.

        Raises:
            KDLightError: the file cannot be written.
        """
        if self._closed or not self._kept:
            return
        self._closed = True
        seconds = time.monotonic() - self._started
        spread = np.linspace(0, len(self._kept) - 1, min(self._room, len(self._kept))).round().astype(int)
        picture = self.draw([self._kept[i] for i in spread], seconds)
        _, content = cv2.imencode(self._path.suffix or ".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        place = self._path.resolve()  # what a link leads to
        beside = place.with_name(f".{place.name}.new") if place.is_file() or not place.exists() else None
        try:
            (beside or place).write_bytes(content.tobytes())
            if beside is not None:
                beside.replace(place)
        except OSError as error:
            if beside is not None:
                beside.unlink(missing_ok=True)
            raise self._refused(error) from error

    def draw(self, tiles: list[Tile], seconds: float) -> ink.Picture:
        """Return the sheet, uint8 [h, w, 3] RGB."""
        columns = min(COLUMNS, len(tiles))
        rows = -(-len(tiles) // columns)
        width = max(2 * MARGIN + columns * (CARD_WIDTH + GAP) - GAP, 760)
        height = HEAD + rows * (CARD_HEIGHT + GAP) - GAP + MARGIN
        sheet = np.full((height, width, 3), ink.PAPER, np.uint8)
        self._draw_head(sheet, seconds)
        for number, (tile, heat) in enumerate(zip(tiles, self._heat(tiles), strict=True)):
            row, column = divmod(number, columns)
            self._draw_card(sheet, MARGIN + column * (CARD_WIDTH + GAP), HEAD + row * (CARD_HEIGHT + GAP), tile, heat)
        return sheet

    def _heat(self, tiles: list[Tile]) -> list[Map]:
        """Return for each picture where it speaks for the class shown, float32 [TILE, TILE], 0 to 1 on one scale."""
        labels = self._classifier.bundle.manifest.labels
        cam = self._classifier.engine.run(np.stack([tile.batch for tile in tiles]), cam=True).cam
        if cam is None:
            return [np.zeros((TILE, TILE), np.float32)] * len(tiles)
        maps = []
        for tile, planes in zip(tiles, cam, strict=True):
            first = next(i for i, label in enumerate(labels) if label.id == tile.prediction.label)
            spoken = evidence(planes, shown_class(labels, first))
            maps.append(cv2.resize(spoken, (TILE, TILE), interpolation=cv2.INTER_CUBIC))
        lit = np.concatenate([plane[plane > 0] for plane in maps])
        strong = float(np.percentile(lit, 97)) if lit.size else 1.0
        return [np.clip(plane / max(strong, 1e-6), 0, 1).astype(np.float32) for plane in maps]

    def _draw_card(self, sheet: ink.Picture, left: int, top: int, tile: Tile, heat: Map) -> None:
        prediction = tile.prediction
        colour = self._colour(prediction)
        wrong = tile.truth is not None and tile.truth != prediction.label
        if wrong:
            ink.rounded(sheet, (left - 2, top - 2, CARD_WIDTH + 4, CARD_HEIGHT + 4), ROUND + 6, ink.DECISIONS["error"])
        ink.rounded(sheet, (left, top, CARD_WIDTH, CARD_HEIGHT), ROUND + 4, ink.CARD)
        place = sheet[top + PAD : top + PAD + TILE, left + PAD : left + PAD + TILE]
        cover = ink.corners(TILE, TILE, ROUND)
        place[:] = (place * (1 - cover) + glow(tile.picture, heat) * cover + 0.5).astype(np.uint8)
        base, right = top + PAD + TILE + 25, left + CARD_WIDTH - PAD
        figure = f"{prediction.probability:.0%}"
        ink.text(sheet, figure, (right - ink.width_of(figure, 18, bold=True), base), 18, colour, bold=True)
        words = self._name(prediction.label)
        if wrong:
            words += f" (is {self._name(tile.truth)})"
        elif prediction.decision != "accepted":
            words += f" · {prediction.decision}"
        room = CARD_WIDTH - 2 * PAD - ink.width_of(figure, 18, bold=True) - 8
        ink.text(sheet, ink.shortened(words, 18, room), (left + PAD, base), 18, ink.WHITE)
        ink.rounded(sheet, (left + PAD, base + 11, TILE, 6), 3, ink.TRACK)
        ink.rounded(sheet, (left + PAD, base + 11, max(6, round(TILE * (prediction.probability or 0))), 6), 3, colour)

    def _draw_head(self, sheet: ink.Picture, seconds: float) -> None:
        manifest = self._classifier.bundle.manifest
        ink.text(sheet, manifest.name, (MARGIN, 58), 36, ink.WHITE, bold=True)
        facts = [f"{self._seen:,} pictures", f"{self._seen / max(seconds, 1e-9):,.0f} pictures/s"]
        if self._judged:
            facts.insert(1, f"{self._right / self._judged:.1%} of {self._judged:,} right")
        if self._unreadable:
            facts.append(f"{self._unreadable:,} unreadable")
        facts.append(f"{self._classifier.engine.name} {self._classifier.engine.artifact.precision}")
        ink.text(sheet, "  ·  ".join(facts), (MARGIN, 94), 19, ink.GREY)
        right = sheet.shape[1] - MARGIN
        for words, colour in reversed(self._legend()):
            right -= ink.width_of(words, 19)
            ink.text(sheet, words, (right, 56), 19, ink.GREY)
            ink.dot(sheet, (right - 15, 50), 5.5, colour)
            right -= 46

    def _legend(self) -> list[tuple[str, ink.Colour]]:
        labels = self._classifier.bundle.manifest.labels
        good = [label.text for label in labels if not label.positive]
        bad = [label.text for label in labels if label.positive]
        named = [
            (", ".join(names), colour)
            for names, colour in ((bad, ink.POSITIVE), (good, ink.NEGATIVE))
            if len(names) == 1
        ]
        decisions = {tile.prediction.decision for tile in self._kept}
        return named + [(name, colour) for name, colour in ink.DECISIONS.items() if name in decisions]

    def _name(self, label_id: str | None) -> str:
        labels = self._classifier.bundle.manifest.labels
        return next((label.text for label in labels if label.id == label_id), str(label_id))

    def _colour(self, prediction: Prediction) -> ink.Colour:
        positive = {label.id for label in self._classifier.bundle.manifest.labels if label.positive}
        return ink.DECISIONS.get(prediction.decision, ink.POSITIVE if prediction.label in positive else ink.NEGATIVE)
