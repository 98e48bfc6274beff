"""Teacher to student: what each of them is taught with."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Generator, Tensor, nn

from kdlight_train.augment import augment
from kdlight_train.components import COMPONENTS, Components, fit_components, unexplained
from kdlight_train.fit import NO_LABEL, Batch, Objective, Pool
from kdlight_train.loss import cross_entropy, labels_given, method
from kdlight_train.place import Place, move
from kdlight_train.recipe import Recipe
from kdlight_train.student import Student
from kdlight_train.teacher import Answers, for_answers, for_maps

KEEP_SHARE = 1 / 3
"""Part of the free memory that may hold augmented pictures; what does not fit is made again, with the same result."""


SEEN = 2_000
"""Training pictures, about, that decide which components of the teacher's features are the principal ones."""


def room() -> int:
    """Return how many bytes of lessons may be kept."""
    return int(KEEP_SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@dataclass(slots=True)
class Making:
    """How long augmented pictures took: the part of a training that is in neither network."""

    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of a block."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def teacher_objective(pool: Pool, classes: int, recipe: Recipe, place: Place, making: Making) -> Objective:
    """Return the teacher's loss: cross-entropy with the labels of augmented pictures."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        with making.timed():
            views, target = augmented(pool, batch, classes, recipe.teacher.imgsz, recipe)
        with place.autocast(on_cpu=True):
            logits = network(real(views))
        return cross_entropy(logits.float(), target, recipe.teacher.label_smoothing)

    return objective


def student_objective(lessons: "Lessons", recipe: Recipe) -> Objective:
    """Return the student's loss: the teacher's answer to the same augmented picture, its feature map, and the labels.

    Lessons may be shared by trainings that differ in the loss alone. With a hint (`DistilRecipe.hint`) the network must
    be `Hinted`.
    """
    distil, smoothing = recipe.distil, recipe.student.label_smoothing
    compare = None if distil.method == "none" else method(distil.method, lessons.classes)
    # Where every picture has a label a training is to the last bit what it was before there were others.
    told = cross_entropy if lessons.pool.labelled == len(lessons.pool.truth) else labels_given

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        lesson = lessons(batch)
        with lessons.place.autocast(on_cpu=recipe.student.bf16):
            given = network(real(lesson.views))
        logits, components = given if isinstance(given, tuple) else (given, None)
        labels = told(logits.float(), lesson.target, smoothing)
        if compare is None or lesson.answers is None:
            return labels
        taught = compare(logits.float(), lesson.answers, distil.temperature)
        loss = distil.weight * taught + (1 - distil.weight) * labels
        if components is not None and lesson.components is not None:
            loss = loss + distil.hint * unexplained(components.float(), lesson.components)
        return loss

    return objective


class Hinted(nn.Module):
    """A student that also tells, while it learns, what it makes of the teacher's feature map."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.to_teacher = nn.Conv2d(student.shape.feature, COMPONENTS, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map float [N, 3, H, W] in 0..1 to logits, float [N, C]; in training also to components, [N, 128, h, w]."""
        maps = self.student.features(x)
        logits: Tensor = self.student.head(maps.mean(dim=(2, 3)))
        return (logits, self.to_teacher(maps)) if self.training else logits


class Lesson(NamedTuple):
    """One batch as the student gets it."""

    views: Tensor
    """uint8 [N, 3, h, w]."""
    target: Tensor
    """float [N, C]."""
    answers: Tensor | None
    """float [N, C], the teacher's logits; None where there is no teacher."""
    components: Tensor | None
    """float16 [N, 128, h / 32, w / 32], of the teacher's feature map; None without a hint."""


class Lessons:
    """Augmented batches with the teacher's answers; each is made once and kept while there is room.

    Several teachers answer as one, with the mean of their logits; the feature map is that of the first. Without a
    teacher, lessons are pictures and labels alone.
    """

    def __init__(
        self, pool: Pool, classes: int, recipe: Recipe, place: Place, teachers: Sequence[nn.Module], making: Making
    ) -> None:
        self.pool, self.making, self.classes, self.place = pool, making, classes, place
        self._recipe = recipe
        self._teachers: list[Answers] = [for_answers(teacher, place) for teacher in teachers]
        if teachers and recipe.distil.hint > 0:
            self._teachers[0] = for_maps(teachers[0], recipe.teacher.name, place)
        self._components: Components | None = None
        self._kept: dict[int, Lesson] = {}
        self._answers: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._room = room()

    def __call__(self, batch: Batch) -> Lesson:
        """Return the lesson of a batch."""
        if batch.seed in self._kept:
            return self._kept[batch.seed]
        with self.making.timed():
            views, target = augmented(self.pool, batch, self.classes, self._recipe.input.imgsz, self._recipe)
        lesson = Lesson(views, target, *self._answer(batch))
        self._room -= views.numel()
        if self._room > 0:
            self._kept[batch.seed] = lesson
        return lesson

    @torch.no_grad()
    def _answer(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        if not self._teachers:
            return None, None
        if batch.seed not in self._answers:
            with self.making.timed():
                views, _ = augmented(self.pool, batch, self.classes, self._recipe.teacher.imgsz, self._recipe)
            pictures = real(views)
            with self.place.autocast(on_cpu=True):
                first, *others = (teacher(pictures) for teacher in self._teachers)
            logits, maps = first if isinstance(first, tuple) else (first, None)
            mean = torch.stack([given.float() for given in (logits, *others)]).mean(dim=0)
            self._answers[batch.seed] = mean, None if maps is None else self._reduce(maps.float())
        return self._answers[batch.seed]

    def _reduce(self, maps: Tensor) -> Tensor:
        """Return the components of feature maps, those of the unchanged training pictures being the principal ones."""
        if self._components is None:
            rows = []
            for part in real_batches(self.pool.pictures[:: max(1, len(self.pool.pictures) // SEEN)], self.place):
                with self.place.autocast(on_cpu=True):
                    rows.append(self._teachers[0](part)[1].float().mean(dim=(2, 3)))
            self._components = fit_components(torch.cat(rows))
        cells = self._recipe.input.imgsz // 32
        return self._components(maps, (cells, cells)).half()


def augmented(pool: Pool, batch: Batch, classes: int, size: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Augment a batch to uint8 [N, 3, size, size], as a camera would give it; the crop is the same at every size.

    The target, float [N, C], of a picture without a label is zero.
    """
    index = batch.index.to(pool.truth.device)
    truth = pool.truth[index]
    target = F.one_hot(truth.clamp(min=0), classes).float() * (truth != NO_LABEL)[:, None]
    views, target = augment(pool.pictures[index], target, size, recipe.augment, Generator().manual_seed(batch.seed))
    return views.mul_(255).round_().to(torch.uint8), target


def real(pictures: Tensor) -> Tensor:
    """Return float [N, 3, h, w] in 0..1, channels last, of uint8 pictures."""
    return pictures.to(torch.float32, memory_format=torch.channels_last).mul_(1 / 255)


@torch.inference_mode()
def answer(network: nn.Module, pictures: Tensor, place: Place, *, large: bool) -> Tensor:
    """Return logits, float32 [n, C] on the CPU, of prepared pictures, uint8 [n, 3, h, w]."""
    network = move(network, place).eval()
    rows = []
    for views in real_batches(pictures, place):
        with place.autocast(on_cpu=large):
            rows.append(network(views).float().cpu())
    return torch.cat(rows)


def real_batches(pictures: Tensor, place: Place) -> Iterator[Tensor]:
    """Yield pictures, uint8 [n, 3, h, w], as float batches in 0..1 on the device."""
    for part in pictures.split(128):  # type: ignore[no-untyped-call]
        yield real(part.to(place.device))
