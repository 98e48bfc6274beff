"""Teacher to student: what each of them is taught with."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Generator, Tensor, nn

from kdlight_train.augment import augment
from kdlight_train.fit import Batch, Objective, Pool, move
from kdlight_train.loss import cross_entropy, method
from kdlight_train.place import Place
from kdlight_train.recipe import Recipe


def teacher_objective(pool: Pool, classes: int, recipe: Recipe, place: Place) -> Objective:
    """Return the teacher's loss: cross-entropy with the labels of augmented pictures."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        views, target = _views(pool, batch, classes, recipe.teacher.imgsz, recipe)
        with place.autocast(large=True):
            logits = network(views)
        return cross_entropy(logits.float(), target, recipe.teacher.label_smoothing)

    return objective


def student_objective(pool: Pool, classes: int, recipe: Recipe, place: Place, teacher: nn.Module) -> Objective:
    """Return the student's loss: the teacher's answer to the same augmented picture, and the labels."""
    distil, smoothing = recipe.distil, recipe.student.label_smoothing
    if distil.method == "none":
        return _labels_only(pool, classes, recipe, place)
    compare = method(distil.method, classes)
    answers = Answers(pool, classes, recipe, place, teacher)

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        views, target = _views(pool, batch, classes, recipe.input.imgsz, recipe)
        with place.autocast(large=False):
            logits = network(views).float()
        taught = compare(logits, answers(batch), distil.temperature)
        return distil.weight * taught + (1 - distil.weight) * cross_entropy(logits, target, smoothing)

    return objective


class Answers:
    """The teacher's logits, computed once for each batch of each view and kept."""

    def __init__(self, pool: Pool, classes: int, recipe: Recipe, place: Place, teacher: nn.Module) -> None:
        self._pool, self._classes, self._recipe, self._place = pool, classes, recipe, place
        self._teacher = move(teacher, place).eval()
        self._kept: dict[int, Tensor] = {}

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return float [N, C] for a batch."""
        if batch.seed not in self._kept:
            views, _ = _views(self._pool, batch, self._classes, self._recipe.teacher.imgsz, self._recipe)
            with self._place.autocast(large=True):
                self._kept[batch.seed] = self._teacher(views).float()
        return self._kept[batch.seed]


def _labels_only(pool: Pool, classes: int, recipe: Recipe, place: Place) -> Objective:
    """Return the loss of a student without a teacher, for comparison."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        views, target = _views(pool, batch, classes, recipe.input.imgsz, recipe)
        with place.autocast(large=False):
            logits = network(views).float()
        return cross_entropy(logits, target, recipe.student.label_smoothing)

    return objective


def _views(pool: Pool, batch: Batch, classes: int, size: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Augment a batch; the same batch gives the same crop at every size."""
    index = batch.index.to(pool.truth.device)
    target = F.one_hot(pool.truth[index], classes).float()
    generator = Generator().manual_seed(batch.seed)
    return augment(pool.pictures[index], target, size, recipe.augment, generator)


@torch.inference_mode()
def answer(network: nn.Module, pictures: Tensor, place: Place, *, large: bool, batch: int = 128) -> Tensor:
    """Return logits, float32 [n, C] on the CPU, of prepared pictures, uint8 [n, 3, h, w]."""
    network = move(network, place).eval()
    rows = []
    for part in pictures.split(batch):  # type: ignore[no-untyped-call]
        views = part.to(place.device).float().mul_(1 / 255).contiguous(memory_format=torch.channels_last)
        with place.autocast(large=large):
            rows.append(network(views).float().cpu())
    return torch.cat(rows)
