"""The training loop, read from top to bottom: it fits the teacher to labels and the student to the teacher.

An epoch is determined by the seed and its number alone (order, augmentation and mixing come from generators made for
it, and what layers draw, such as dropout, from the global one seeded for the batch), so a training that was killed goes
on from its last checkpoint to the very same weights, where it has as many threads: torch adds in another order else.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdlight_edge.errors import DataError
from kdlight_train import checkpoint
from kdlight_train.place import Place, move

GRADIENT_LIMIT = 5.0
"""Norm above which a gradient is shortened: one odd batch must not undo an epoch."""


NO_LABEL = -1
"""Stands in a pool's truth for the class of a picture that has none."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The pictures of a split, decoded, in memory."""

    pictures: Tensor
    """uint8 [n, 3, h, w]."""
    truth: Tensor
    """int64 [n], `NO_LABEL` where there is none; those come last."""

    @property
    def labelled(self) -> int:
        """How many have a label."""
        return int((self.truth != NO_LABEL).sum())

    @property
    def passed(self) -> int:
        """How many one pass draws: see `order`."""
        return min(len(self.truth), 2 * self.labelled)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warmup: int
    ema: float
    seed: int
    balance: str
    views: int = 0
    """Number of different augmented passes over the data; 0 makes every epoch new."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What an objective gets: which pictures, in which view, and what is random about them."""

    index: Tensor
    """int64 [N], places in the pool."""
    view: int
    seed: int
    """Seed of everything random in this batch; the same view of the same batch has the same seed."""


class Objective(Protocol):
    """Computes the loss of one batch for a network."""

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return a scalar."""
        ...


Watch = Callable[[nn.Module, dict[str, Any]], dict[str, Any]]
"""Called after each epoch with the averaged network and the epoch's figures; returns them with more."""


def fit(
    network: nn.Module,
    pool: Pool,
    objective: Objective,
    schedule: Schedule,
    place: Place,
    *,
    file: Path,
    watch: Watch,
    step_done: Callable[[int, float], None] = lambda _done, _loss: None,
    again: str = checkpoint.RESUME,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train ``network`` and return its averaged copy with the figures of each epoch.

    Args:
        network: on the CPU; moved to the place.
        pool: the training split, on the device.
        objective: loss of one batch.
        schedule: how long and how fast.
        place: device and rank.
        file: checkpoint; continued from when it exists.
        watch: measures the averaged network after each epoch.
        step_done: called with the number of pictures and the loss after each step, for a progress bar.
        again: what goes on after a full disk (see `checkpoint.save`).

    Raises:
        DataError: the loss or the averaged weights are not finite; the checkpoint is still that of the epoch before.
    """
    network = move(network, place)
    averaged = _copy(network)
    optimizer = _optimizer(network, schedule)
    history: list[dict[str, Any]] = []
    state = checkpoint.load(file)
    if state is not None:
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
    learner = DistributedDataParallel(network) if place.world > 1 else network
    passed = pool.passed
    for epoch in range(len(history), schedule.epochs):
        started = time.perf_counter()
        loss = _epoch(learner, network, averaged, optimizer, pool, objective, schedule, place, epoch, step_done)
        figures = {"epoch": epoch + 1, "loss": loss, "lr": optimizer.param_groups[0]["lr"]}
        figures["images_per_second"] = passed / (time.perf_counter() - started)
        if not all(bool(tensor.isfinite().all()) for tensor in averaged.state_dict().values()):
            raise diverged("the weights are no longer finite", epoch + 1, schedule.lr)
        history.append(watch(averaged, figures))
        if place.first:
            parts: dict[str, Any] = {"network": network, "averaged": averaged, "optimizer": optimizer}
            states = {key: part.state_dict() for key, part in parts.items()}
            checkpoint.save(file, {**states, "history": history}, again)
    return averaged, history


def _epoch(
    learner: nn.Module,
    network: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    pool: Pool,
    objective: Objective,
    schedule: Schedule,
    place: Place,
    epoch: int,
    step_done: Callable[[int, float], None],
) -> float:
    """Run one pass and return the mean loss."""
    view = epoch % schedule.views if schedule.views else epoch
    batches = order(pool.truth, schedule, view).split(schedule.batch)  # type: ignore[no-untyped-call]
    if len(batches) > 1 and len(batches[-1]) < place.world * 2:
        batches = batches[:-1]  # too few for a batch norm on every rank
    network.train()
    total = torch.zeros((), device=place.device)
    for number, index in enumerate(batches):
        step = epoch * len(batches) + number
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * pace(step, schedule.epochs * len(batches), schedule.warmup * len(batches))
        own = index[place.rank :: place.world]
        batch = Batch(own, view, _seed(schedule.seed, view, number, place.rank))
        with place.drawing(batch.seed):
            loss = objective(learner, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise diverged(f"the loss became {value}", epoch + 1, schedule.lr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_LIMIT)
        optimizer.step()
        _average(averaged, network, min(schedule.ema, (1 + step) / (10 + step)))
        total += loss.detach()
        step_done(len(index), value)
    return float(total) / len(batches)


def diverged(seen: str, epoch: int, lr: float) -> DataError:
    """Return the error of a training that cannot go on.

    Args:
        seen: what is not finite.
        epoch: in which, from 1.
        lr: peak learning rate.
    """
    return DataError(f"{seen} in epoch {epoch}; lower the learning rate (now {lr:g})")


def order(truth: Tensor, schedule: Schedule, view: int) -> Tensor:
    """Return the places of one pass, int64 [n]: a shuffle, or a draw that lifts rare classes half-way to equality.

    Of pictures without a label, which come last, a pass draws as many as there are labelled ones, or all where there
    are fewer.
    """
    generator = torch.Generator().manual_seed(_seed(schedule.seed, view, 0, 0) ^ 0x5EED)
    labelled = int((truth != NO_LABEL).sum())
    places = _order(truth[:labelled], schedule, generator)
    if labelled == len(truth):
        return places
    others = labelled + torch.randperm(len(truth) - labelled, generator=generator)[:labelled]
    mixed = torch.cat([places, others])
    return mixed[torch.randperm(len(mixed), generator=generator)]


def _order(truth: Tensor, schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Return the places of labelled pictures."""
    counts = torch.bincount(truth.cpu()).double()
    if schedule.balance == "none" or counts.max() < 1.5 * counts[counts > 0].min():
        return torch.randperm(len(truth), generator=generator)
    weights = counts.rsqrt()[truth.cpu()]
    # Whole copies first, then a draw for the remainder: less noise than drawing everything.
    expected = weights / weights.sum() * len(truth)
    whole = expected.floor().long()
    rest = len(truth) - int(whole.sum())
    drawn = torch.multinomial((expected - whole).clamp(min=1e-9), rest, replacement=False, generator=generator)
    places = torch.cat([torch.repeat_interleave(torch.arange(len(truth)), whole), drawn])
    return places[torch.randperm(len(places), generator=generator)]


def pace(step: int, steps: int, warmup: int) -> float:
    """Return the share of the full learning rate at a step: linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _seed(seed: int, view: int, number: int, rank: int) -> int:
    return ((seed * 1_000_003 + view) * 1_000_003 + number) * 131 + rank & 0x7FFF_FFFF_FFFF_FFFF


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019); biases and batch norms do not decay."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.lr)


def _copy(network: nn.Module) -> nn.Module:
    averaged = copy.deepcopy(network).eval()
    return averaged.requires_grad_(requires_grad=False)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and batch-norm statistics towards the present ones."""
    old = list(averaged.state_dict().values())
    new = list(network.state_dict().values())
    floats = [place for place, tensor in enumerate(old) if tensor.is_floating_point()]
    torch._foreach_lerp_([old[i] for i in floats], [new[i] for i in floats], 1 - decay)
    for place, tensor in enumerate(old):
        if not tensor.is_floating_point():
            tensor.copy_(new[place])
