"""A start for students from pictures without labels: the features that an ImageNet teacher sees in them, distilled.

The student learns the principal components of the teacher's last feature map, place by place, of augmented pictures.
No label is read, so any pictures of the field will do; pictures to test with must not be among them. So folders are
split as a training splits them, and the file says by short hashes which pictures it has seen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlight_edge.errors import DataError, UsageError
from kdlight_edge.progress import Progress
from kdlight_train import checkpoint
from kdlight_train.claim import alone, given_back
from kdlight_train.claim import write as write_claim
from kdlight_train.components import (
    COMPONENTS,
    Components,
    Maps,
    Normalised,
    feature_part,
    fit_components,
    maps_with,
    unexplained,
)
from kdlight_train.data import Data, open_data
from kdlight_train.distill import augmented, real, real_batches, room
from kdlight_train.fit import Batch, Pool, Schedule, fit
from kdlight_train.folders import check_paths
from kdlight_train.pictures import Split, load_telling
from kdlight_train.place import Place, move
from kdlight_train.recipe import Recipe, to_json
from kdlight_train.start import HEAD, short_hashes
from kdlight_train.student import Student, make_student
from kdlight_train.teacher import make_teacher
from kdlight_train.workshop import Say, input_of

AGAIN = "give the same command again"
"""What goes on after a save that failed: `pretrain` needs no flag for it."""


class Start(nn.Module):
    """A student without its classes, and the linear map from its features to the teacher's components."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        student.head.requires_grad_(requires_grad=False)  # not asked: several processes would wait for its gradient
        self.to_teacher = nn.Conv2d(student.shape.feature, COMPONENTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, 3, H, W] in 0..1 to components, float [N, 128, H / 32, W / 32]."""
        y: Tensor = self.to_teacher(self.student.features(x))
        return y


@dataclass(frozen=True)
class Target:
    """What is to be matched: the teacher's feature map in few components."""

    maps: Maps
    components: Components

    def __call__(self, pictures: Tensor, cells: tuple[int, int]) -> Tensor:
        """Return float [N, 128, *cells] of pictures, float [N, 3, h, w] in 0..1."""
        return self.components(self.maps(pictures), cells)


def pretrain(
    paths: Sequence[Path],
    out: Path,
    recipe: Recipe,
    place: Place,
    say: Say,
    *,
    teacher_weights: Path | None,
    groups: Sequence[Path] = (),
    group_regex: str | None = None,
) -> None:
    """Teach a student's convolutions the teacher's features and write them to a file.

    Args:
        paths: folders of pictures; of those with ``train/`` and ``test/`` only ``train/`` is used, of a plain folder
            what a training would not test with.
        out: the file to write; its checkpoint stands beside it, and is gone on with when it is there.
        recipe: sizes, student, epochs, views and augmentation.
        place: device and rank.
        say: tells people, a line at a time.
        teacher_weights: ImageNet weights, None to let torchvision download them.
        groups: one table a folder (see `open_data`), or none.
        group_regex: see `open_data`.

    Raises:
        DataError: no pictures, or a disk that is full.
        UsageError: the teacher has no feature map, what stands beside ``out`` belongs to another start, or groups that
            do not fit the folders.
        KDLightError: another pretraining is at work on ``out``.
    """
    torch.manual_seed(recipe.seed)
    datas = _open(paths, recipe, groups, group_regex)
    if place.first:
        _check_place(out)
    told = f"another pretraining is at work on {out}; wait until it has ended, or choose another --out"
    with alone(out.with_suffix(".lock"), place, told):
        claim = _claim(out, recipe, datas) if place.first else None
        with given_back(claim, out.with_suffix(".ckpt")):
            averaged, history = _teach(datas, out.with_suffix(".ckpt"), recipe, place, say, teacher_weights)
        if place.first:
            _write(out, averaged, recipe, datas, history)


def _teach(
    datas: Sequence[Data], state: Path, recipe: Recipe, place: Place, say: Say, weights: Path | None
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Fit a start to the teacher's components and return it with the figures of each epoch."""
    pool = _pool(datas, recipe, place, say)
    target = _target(pool, recipe, place, weights)
    kept = f"the {COMPONENTS} components hold {target.components.kept:.1%} of the teacher's variance"
    say(f"{len(pool.truth):,} pictures; {kept}")
    student = recipe.student
    schedule = Schedule(
        student.epochs, student.batch, student.lr, student.weight_decay, student.warmup, student.ema, recipe.seed,
        "none", recipe.distil.views,
    )  # fmt: skip
    start = Start(make_student(student.name, 2))
    done = len((checkpoint.load(state) or {"history": []})["history"])
    bar = Progress(
        (student.epochs - done) * len(pool.truth), "images", label=f"start {student.name}", quiet=not place.first
    )
    try:
        return fit(
            start, pool, _objective(pool, target, recipe, place), schedule, place, file=state,
            watch=lambda _network, figures: figures,
            step_done=lambda count, loss: bar.update(count, unexplained=f"{loss:.3f}"), again=AGAIN,
        )  # fmt: skip
    finally:
        bar.close()


def _open(paths: Sequence[Path], recipe: Recipe, groups: Sequence[Path], group_regex: str | None) -> list[Data]:
    """Split each folder by itself: their classes, which are not looked at, may differ."""
    if groups and len(groups) != len(paths):
        raise UsageError(f"{len(groups)} tables with --groups for {len(paths)} data folders; give one for each")
    check_paths(paths)
    return [
        open_data(
            [path], groups=groups[place : place + 1], group_regex=group_regex,
            val_share=recipe.val_share, test_share=recipe.test_share, seed=recipe.seed,
        )
        for place, path in enumerate(paths)
    ]  # fmt: skip


def _claim(out: Path, recipe: Recipe, datas: Sequence[Data]) -> Path | None:
    """Say beside ``out`` which start its checkpoint belongs to and return that file, or see that it is this one."""
    file = out.with_suffix(".json")
    text = json.dumps({"recipe": to_json(recipe), "data": [data.fingerprint for data in datas]}, indent=1) + "\n"
    try:
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_claim(file, text)
            return file
        if file.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"--out {out}: {file} says that other pictures or another recipe began here; choose another --out"
            )
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror}") from error
    return None


def _check_place(out: Path) -> None:
    """Refuse, before the work, a place that cannot be written, or where something else stands.

    Raises:
        UsageError: it is a folder, one of the files beside a start, or holds what no pretraining claims.
    """
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; give a file in it, as {out / 'start.pt'}")
    claim, state, lock = (out.with_suffix(suffix) for suffix in (".json", ".ckpt", ".lock"))
    if out in {claim, state, lock}:
        raise UsageError(f"--out {out}: a pretraining keeps a .ckpt, a .json and a .lock beside its start; name it .pt")
    held = [place for place in (out, state) if place.exists()]
    if held and not claim.is_file():
        raise UsageError(f"--out {out}: {held[0]} is there and of no pretraining; choose another --out, or remove it")


def _seen(datas: Sequence[Data]) -> Split:
    """Return every training and validation picture."""
    return Split(tuple(one for data in datas for split in (data.train, data.val) for one in split.pictures))


def _pool(datas: Sequence[Data], recipe: Recipe, place: Place, say: Say) -> Pool:
    """Decode every picture to learn from; classes are not looked at."""
    loaded = load_telling(_seen(datas), input_of(recipe, recipe.teacher.imgsz), say)
    images = torch.from_numpy(loaded.images).permute(0, 3, 1, 2).to(place.device)
    return Pool(images, torch.zeros(len(images), dtype=torch.int64, device=place.device))


@torch.no_grad()
def _target(pool: Pool, recipe: Recipe, place: Place, weights: Path | None) -> Target:
    """Find the teacher's principal components over the pictures as they are."""
    teacher = make_teacher(recipe.teacher.name, 2, weights)
    convolutions = Normalised(feature_part(teacher.network, recipe.teacher.name), teacher.mean, teacher.std)
    maps = maps_with(move(convolutions, place).eval(), place)
    rows = torch.cat([maps(batch).mean(dim=(2, 3)) for batch in real_batches(pool.pictures, place)])
    return Target(maps, fit_components(rows))


def _objective(pool: Pool, target: Target, recipe: Recipe, place: Place) -> Any:
    """Return the loss: squared distance of the components, summed, in units of the teacher's variance."""
    cells = (recipe.input.imgsz // 32, recipe.input.imgsz // 32)
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    left = room()

    def lesson(batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal left
        if batch.seed in kept:
            return kept[batch.seed]
        views, _ = augmented(pool, batch, 2, recipe.input.imgsz, recipe)
        large, _ = augmented(pool, batch, 2, recipe.teacher.imgsz, recipe)
        with torch.no_grad():
            made = views, target(real(large), cells).half()
        left -= views.nbytes + made[1].nbytes
        if left > 0:
            kept[batch.seed] = made
        return made

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        views, wanted = lesson(batch)
        with place.autocast(on_cpu=recipe.student.bf16):
            given = network(real(views)).float()
        return unexplained(given, wanted)

    return objective


def _write(
    out: Path, averaged: nn.Module, recipe: Recipe, datas: Sequence[Data], history: Sequence[dict[str, Any]]
) -> None:
    """Write the weights, in half precision: they are a start, not an end."""
    state = averaged.get_submodule("student").state_dict()
    weights = {
        key: value.cpu().half() if value.is_floating_point() else value.cpu()
        for key, value in state.items()
        if key not in HEAD
    }
    provenance = {
        "recipe": to_json(recipe),
        "data": [{"fingerprint": data.fingerprint, "pictures": len(data.train) + len(data.val)} for data in datas],
        "unexplained": history[-1]["loss"],
    }
    seen = short_hashes(_seen(datas))
    start = {"student": recipe.student.name, "weights": weights, "provenance": provenance, "seen": seen}
    checkpoint.save(out, start, AGAIN)
