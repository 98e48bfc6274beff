"""A finished student to one that bears 8 bits: it learns, with rounding on, to answer as it did in float.

The float student is the teacher, of its logits and of its last feature map, on augmented training pictures; labels are
not needed, and the student itself stays what it was. Training begins where rounding without training ends
(`kdlight_train.rounding`); scales and ranges stay as they were found there.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_edge.errors import DataError
from kdlight_train import checkpoint
from kdlight_train.distill import answer, augmented, real
from kdlight_train.eight_bits import Range
from kdlight_train.finished import Finished
from kdlight_train.fit import Batch, Schedule, diverged, fit
from kdlight_train.kept import thinned
from kdlight_train.place import move
from kdlight_train.rounded import EightBits, RoundedStudent, numbers_of
from kdlight_train.rounding import round_student
from kdlight_train.workshop import Say, Shelf

FILE, CHECKPOINT = "student.int8.pt", "student.int8.ckpt"


USUAL = 0.1
"""Distance of logits up to which the loss is its square; beyond, an odd picture must not count for all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how fast the rounded student learns."""

    epochs: int = 6
    batch: int = 32
    lr: float = 5e-5
    ema: float = 0.99
    maps: float = 1.0
    """Weight of the last feature map's distance beside that of the logits."""
    seed: int = 0


def learn_8_bits(shelf: Shelf, student: Finished, run: Path, settings: Settings, say: Say) -> EightBits:
    """Train the rounded student; goes on from RUN/student.int8.ckpt where there is one.

    Args:
        shelf: the pictures that the student learnt from.
        student: finished, in float.
        run: where the checkpoint stands.
        settings: how long and how fast.
        say: tells people, a line at a time.

    Raises:
        DataError: it diverged, or the disk is full.
    """
    exact = student.network().requires_grad_(requires_grad=False)
    train = shelf.split("train", shelf.recipe.input.imgsz).pictures
    network = round_student(exact, train[thinned(shelf.readable("train"))])
    network.requires_grad_(requires_grad=True)
    wanted = copy.deepcopy(exact)
    move(wanted, shelf.place)
    val = shelf.split("val", shelf.recipe.input.imgsz).pictures
    answers = answer(copy.deepcopy(exact), val, shelf.place, large=False)

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        views, _ = augmented(shelf.pool, batch, len(student.labels), shelf.recipe.input.imgsz, shelf.recipe)
        x = real(views)
        with torch.no_grad():
            maps = wanted.features(x)
            logits = wanted.head(maps.mean(dim=(2, 3)))
        given_logits, given = network(x, maps=True)
        apart = (given - maps).square().mean(dim=(1, 2, 3)) / maps.square().mean(dim=(1, 2, 3)).clamp(min=1e-9)
        total: Tensor = F.smooth_l1_loss(given_logits, logits, beta=USUAL) / USUAL + settings.maps * apart.mean()
        return total

    def watch(averaged: nn.Module, entry: dict[str, Any]) -> dict[str, Any]:
        found = answer(averaged, val, shelf.place, large=False)
        if not bool(found.isfinite().all()):
            raise diverged("8 bits: the answers are no longer finite", entry["epoch"], settings.lr)
        entry["agreement"] = float((found.argmax(dim=1) == answers.argmax(dim=1)).double().mean())
        entry["distance"] = float((found - answers).square().mean().sqrt())
        say(
            f"8 bits, epoch {entry['epoch']}/{settings.epochs}: {entry['agreement']:.2%} of {len(val)} validation "
            f"pictures answered as in float, logits {entry['distance']:.3f} apart"
        )
        return entry

    schedule = Schedule(settings.epochs, settings.batch, settings.lr, 0.0, 0, settings.ema, settings.seed, "none")
    averaged, history = fit(network, shelf.pool, objective, schedule, shelf.place, file=run / CHECKPOINT, watch=watch)
    assert isinstance(averaged, RoundedStudent)  # noqa: S101 - what was given is what comes back
    return numbers_of(averaged.cpu(), exact, f"learnt with rounding on, {len(history)} epochs (train --qat)")


def save(run: Path, eight: EightBits, student: Finished) -> None:
    """Write RUN/student.int8.pt, which belongs to this student, whole or not at all."""
    record = {
        "student": student.provenance["made"],
        "weights": dict(eight.weights),
        "scales": {name: torch.from_numpy(scale) for name, scale in eight.scales.items()},
        "ranges": {name: [found.limit, found.signed] for name, found in eight.ranges.items()},
        "told": eight.told,
    }
    checkpoint.save(run / FILE, record)


def load(run: Path, student: Finished) -> EightBits | None:
    """Read RUN/student.int8.pt, None where there is none.

    Raises:
        DataError: it is damaged, of another student, or from another version.
    """
    record = checkpoint.load(run / FILE)
    if record is None:
        return None
    if record.pop("student", None) != student.provenance["made"]:
        raise DataError(f"{run / FILE} belongs to another student than student.pt; make it again: train --qat")
    try:
        ranges = {name: Range(limit, signed=signed) for name, (limit, signed) in record.pop("ranges").items()}
        scales = {name: scale.numpy() for name, scale in record.pop("scales").items()}
        return EightBits(scales=scales, ranges=ranges, **record)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{run / FILE} was made by another version ({error}); make it again: train --qat") from error
