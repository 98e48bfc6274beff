"""One training from pictures to a proved student: the order of the work, and what is written into RUN/."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_edge.progress import Progress
from kdlight_train import checkpoint
from kdlight_train.data import Data, Split
from kdlight_train.distill import Hinted, Lessons, Making, answer, real_batches, student_objective, teacher_objective
from kdlight_train.fit import Objective, Pool, Schedule, diverged, fit
from kdlight_train.pictures import load_telling
from kdlight_train.place import Place
from kdlight_train.recipe import Recipe
from kdlight_train.student import make_student
from kdlight_train.teacher import freeze, make_teacher
from kdlight_train.turn import turn

Say = Callable[[str], None]

STATE = "student.ckpt"
"""What stands in RUN/ after the student's first epoch, and is gone on with."""

TEACHER_EMA = 0.99

DOWNLOADED = "torchvision"
"""Stands for the ImageNet weights that torchvision downloads."""

STEP_OF_SEEDS = 7_919
"""Between the seeds of two students, or two teachers, of one training: a prime, so that those of trainings and theirs
never meet."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A trained network with its answers to the pictures kept apart."""

    network: nn.Module
    history: list[dict[str, Any]]
    logits: dict[str, npt.NDArray[np.float32]]
    """Split (``val``, ``test``) to float32 [n, C]; filled in the first process only."""
    passed: int
    """Pictures of one pass."""
    seconds: float
    """What the training took in this process; none of it where the network was finished before."""
    making: float
    """Seconds of these that went into augmented pictures, so into neither network."""


class Shelf:
    """The pictures of every split at the sizes that the networks want, decoded once."""

    def __init__(self, data: Data, recipe: Recipe, place: Place, say: Say) -> None:
        self.data, self.recipe, self.place = data, recipe, place
        self._say = say
        self._decoded: dict[tuple[str, int], Pool] = {}
        self._readable: dict[str, Split] = {}
        train = self.split("train", recipe.teacher.imgsz)
        for index, label in enumerate(data.labels):
            if not bool((train.truth == index).any()):
                raise DataError(
                    f"class '{label}' has no training picture that can be decoded; mend what is left out above, or "
                    "remove the class"
                )
        self.pool = Pool(train.pictures.to(place.device), train.truth.to(place.device))

    def split(self, name: str, side: int) -> Pool:
        """Return a split decoded at a side in pixels; what turns out unreadable is said and left out."""
        key = (name, side)
        if key not in self._decoded:
            split = self.data.splits[name]
            workers = len(os.sched_getaffinity(0))
            loaded = load_telling(split, input_of(self.recipe, side), self._say, workers)
            pictures = torch.from_numpy(loaded.images).permute(0, 3, 1, 2)  # channels last in memory already
            self._decoded[key] = Pool(pictures, torch.from_numpy(split.truth[loaded.kept]))
            self._readable[name] = Split(tuple(split.pictures[place] for place in loaded.kept))
        return self._decoded[key]

    def readable(self, name: str) -> Split:
        """Return the pictures of a split that could be decoded: those of `split`, in its order."""
        self.split(name, self.recipe.input.imgsz)
        return self._readable[name]


def input_of(recipe: Recipe, side: int | None = None) -> Input:
    """Return the recipe's input for the student, or the same rules at another side."""
    side = side or recipe.input.imgsz
    return Input(side, side, recipe.input.colour, recipe.input.resize, recipe.input.interpolation)


def teach_teachers(
    shelf: Shelf, weights: Path | None, cache: Path, say: Say, origin: str | None = None
) -> tuple[Taught, ...]:
    """Fine-tune as many teachers as the recipe wants; arguments and errors are those of `teach_teacher`."""
    # A student of labels alone has one to be compared with.
    count = 1 if shelf.recipe.distil.method == "none" else shelf.recipe.teacher.count
    return tuple(teach_teacher(shelf, weights, cache, say, origin, number) for number in range(count))


def teach_teacher(
    shelf: Shelf, weights: Path | None, cache: Path, say: Say, origin: str | None = None, number: int = 0
) -> Taught:
    """Fine-tune a teacher, or take it from the cache when this very one was made before, or is being made now.

    Args:
        shelf: the pictures.
        weights: of ImageNet, None to let torchvision download them; read only where the cache holds no epoch yet.
        cache: where fine-tuned teachers are kept.
        say: tells people.
        origin: what the weights are (see `origin_of`); None asks the file.
        number: which of the recipe's teachers; each has a seed of its own.

    Raises:
        DataError: the cache cannot be written, or lacks a teacher whose weights are not given.
    """
    recipe, data = shelf.recipe, shelf.data
    settings = recipe.teacher
    origin = origin or origin_of(weights)
    seed = recipe.seed + STEP_OF_SEEDS * number
    folder = cache / "teachers" / _teacher_key(data, recipe, origin, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--cache {cache} cannot be written: {error.strerror}; choose another") from error
    schedule = Schedule(
        settings.epochs, settings.batch, settings.lr, settings.weight_decay, 1, TEACHER_EMA, seed, recipe.balance
    )
    making = Making()
    objective = teacher_objective(shelf.pool, len(data.labels), recipe, shelf.place, making)
    name = f"teacher {settings.name}" + (f" {number + 1}" if settings.count > 1 else "")
    with turn(folder, shelf.place, say, f"{name}: another training makes it in {folder}; waiting"):
        begun = (folder / "teacher.ckpt").exists()
        if not begun and origin != origin_of(weights):
            raise DataError(
                f"--cache {cache} no longer holds the teacher that this training began with; give the ImageNet weights "
                f"it was made from (SHA-256 {origin[:12]}...) with --teacher-weights"
            )
        teacher = make_teacher(settings.name, len(data.labels), weights, seed=seed, begun=begun)
        freeze(teacher, settings.name, settings.frozen)
        if begun:
            say(f"{name}: going on from {folder}")
        started = time.perf_counter()
        work = Work(name, settings.imgsz, folder / "teacher.ckpt", large=True)
        network, history = _fit(teacher, objective, schedule, shelf, shelf.pool, work)
    return _taught(network, history, shelf, shelf.pool, work, started, making)


def lessons_of(shelf: Shelf, teachers: Sequence[nn.Module], pool: Pool | None = None) -> Lessons:
    """Return what the student is taught with, on the shelf's pool or another; without a teacher, labels alone."""
    return Lessons(pool or shelf.pool, len(shelf.data.labels), shelf.recipe, shelf.place, teachers, Making())


def teach_student(shelf: Shelf, lessons: Lessons, run: Path, start: Mapping[str, Tensor], say: Say) -> Taught:
    """Distil the student from the weights of a start (which may be none); the checkpoint stands in RUN/`STATE`."""
    recipe, classes = shelf.recipe, len(shelf.data.labels)
    settings = recipe.student
    own_seed = recipe.seed + STEP_OF_SEEDS * settings.seed
    torch.manual_seed(own_seed)
    student = make_student(settings.name, classes)
    student.load_state_dict({**student.state_dict(), **start})
    schedule = Schedule(
        settings.epochs, settings.batch, settings.lr, settings.weight_decay, settings.warmup, settings.ema,
        own_seed, recipe.balance, recipe.distil.views,
    )  # fmt: skip
    objective = student_objective(lessons, recipe)
    started = time.perf_counter()
    work = Work(f"student {settings.name}", recipe.input.imgsz, run / STATE, large=False)
    hinted = recipe.distil.hint > 0 and recipe.distil.method != "none"
    network, history = _fit(Hinted(student) if hinted else student, objective, schedule, shelf, lessons.pool, work)
    if hinted:
        network = network.get_submodule("student")
    seconds = time.perf_counter() - started
    last = history[-1]["images_per_second"]
    share = f"{lessons.making.seconds / seconds:.1%} of {seconds:.0f} s went into making pictures"
    say(f"student {settings.name}: {last:.0f} images/s at the end; {share}")
    return _taught(network, history, shelf, lessons.pool, work, started, lessons.making)


@dataclass(frozen=True, slots=True)
class Work:
    """What is being fitted."""

    name: str
    side: int
    """Side of the pictures the network sees, in pixels."""
    file: Path
    """Its checkpoint."""
    large: bool
    """Whether it is large enough to gain by bfloat16."""


def _fit(
    network: nn.Module, objective: Objective, schedule: Schedule, shelf: Shelf, pool: Pool, work: Work
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Fit with a progress bar and a look at the validation pictures after each epoch."""
    val = shelf.split("val", work.side)
    state = checkpoint.load(work.file)
    done = len(state["history"]) if state else 0
    bar = Progress((schedule.epochs - done) * pool.passed, "images", label=work.name, quiet=not shelf.place.first)
    shown: dict[str, Any] = {"epoch": f"{done + 1}/{schedule.epochs}"}

    def watch(averaged: nn.Module, entry: dict[str, Any]) -> dict[str, Any]:
        if shelf.place.first:
            logits = answer(averaged, val.pictures, shelf.place, large=work.large)
            if not bool(logits.isfinite().all()):  # weights may still be finite, but too large to multiply
                raise diverged(f"{work.name}: the answers are no longer finite", entry["epoch"], schedule.lr)
            entry["val_accuracy"] = float((logits.argmax(dim=1) == val.truth).double().mean())
            shown["val"] = f"{entry['val_accuracy']:.4f}"
        shown["epoch"] = f"{min(entry['epoch'] + 1, schedule.epochs)}/{schedule.epochs}"
        return entry

    def step_done(count: int, loss: float) -> None:
        bar.update(count, **shown, loss=f"{loss:.3f}")

    try:
        return fit(network, pool, objective, schedule, shelf.place, file=work.file, watch=watch, step_done=step_done)
    finally:
        bar.close()


def _taught(
    network: nn.Module,
    history: list[dict[str, Any]],
    shelf: Shelf,
    pool: Pool,
    work: Work,
    started: float,
    making: Making,
) -> Taught:
    logits: dict[str, npt.NDArray[np.float32]] = {}
    for name in ("val", "test"):
        if name in shelf.data.splits and shelf.place.first:
            pictures = shelf.split(name, work.side).pictures
            logits[name] = answer(network, pictures, shelf.place, large=work.large).numpy()
    return Taught(network, history, logits, pool.passed, time.perf_counter() - started, making.seconds)


@torch.inference_mode()
def features_of(network: Any, pictures: Tensor, place: Place) -> npt.NDArray[np.float32]:
    """Return the features before the last layer, float32 [n, D], of pictures uint8 [n, 3, h, w]."""
    rows = [network.features(views).mean(dim=(2, 3)).cpu() for views in real_batches(pictures, place)]
    return torch.cat(rows).numpy()


def features_of_images(network: Any, images: npt.NDArray[np.uint8], place: Place) -> npt.NDArray[np.float32]:
    """Return `features_of` of prepared pictures, uint8 [n, h, w, 3], as `load` gives them."""
    return features_of(network, torch.from_numpy(images).permute(0, 3, 1, 2), place)


@torch.inference_mode()
def maps_of(network: Any, pictures: Tensor, place: Place) -> npt.NDArray[np.float32]:
    """Return the class activation maps, float32 [n, C, h / 32, w / 32], of pictures uint8 [n, 3, h, w]."""
    weight, bias = network.head.weight[:, :, None, None], network.head.bias
    rows = [F.conv2d(network.features(views), weight, bias).cpu() for views in real_batches(pictures, place)]
    return torch.cat(rows).numpy()


def origin_of(weights: Path | None) -> str:
    """Return what ImageNet weights are: the SHA-256 (hex) of their file, or that torchvision brings them.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        return DOWNLOADED if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"--teacher-weights {weights} cannot be opened: {error.strerror}") from error


def _teacher_key(data: Data, recipe: Recipe, origin: str, seed: int) -> str:
    """Name everything the teacher depends on, so that a cached one is the very one that would be made."""
    parts = asdict(recipe)
    # One teacher is what it is whatever the student sees, and however many others there are.
    del parts["input"]["imgsz"], parts["teacher"]["count"]
    # What is switched off is left out: a new kind of augmentation must not make every older teacher another one.
    for table in ("augment", "teacher"):
        parts[table] = {key: value for key, value in parts[table].items() if value}
    facts = {**{key: parts[key] for key in ("teacher", "augment", "input", "balance")}, "seed": seed}
    text = json.dumps([data.fingerprint, origin, facts], sort_keys=True)
    return f"{recipe.teacher.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
