"""The loop: it learns, and a training that was cut goes on to the very same weights."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, nn

from kdlight_edge.errors import DataError, UsageError
from kdlight_train.fit import Batch, Pool, Schedule, _optimizer, fit, order, pace
from kdlight_train.place import choose_place
from kdlight_train.student import make_student

SCHEDULE = Schedule(epochs=4, batch=8, lr=5e-3, weight_decay=0.01, warmup=1, ema=0.8, seed=1, balance="sample", views=2)


class Cut(Exception):
    """Ends a training as a power cut would, between two epochs."""


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(32) % 2
    light = torch.rand(32, 3, 32, 32, generator=generator) * 60 + truth[:, None, None, None] * 150
    return Pool(light.to(torch.uint8), truth)


def run(
    pool: Pool,
    file: Path,
    *,
    cut_after: int | None = None,
    schedule: Schedule = SCHEDULE,
    network: nn.Module | None = None,
) -> dict[str, Tensor]:
    def objective(network: nn.Module, batch: Batch) -> Tensor:
        noise = torch.rand(len(batch.index), 1, 1, 1, generator=torch.Generator().manual_seed(batch.seed))
        return F.cross_entropy(network(pool.pictures[batch.index].float() / 255 + noise * 0.1), pool.truth[batch.index])

    def watch(_averaged: nn.Module, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["epoch"] - 1 == cut_after:
            raise Cut
        return entry

    torch.manual_seed(0)
    network, history = fit(
        network or make_student("nano", 2), pool, objective, schedule, choose_place("cpu"), file=file, watch=watch
    )
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    return network.state_dict()


def test_the_loop_learns_what_can_be_learnt(pool: Pool, tmp_path: Path) -> None:
    network = make_student("nano", 2)
    network.load_state_dict(run(pool, tmp_path / "a.ckpt", schedule=dataclasses.replace(SCHEDULE, ema=0.0)))
    network.train()  # statistics of the batch: four epochs are too few for the running ones
    assert (network(pool.pictures.float() / 255).argmax(dim=1) == pool.truth).double().mean() > 0.95


@pytest.mark.parametrize("cut_after", [1, 3])
def test_a_training_that_was_cut_goes_on_to_the_same_weights(pool: Pool, tmp_path: Path, cut_after: int) -> None:
    whole = run(pool, tmp_path / "whole.ckpt")
    with pytest.raises(Cut):
        run(pool, tmp_path / "cut.ckpt", cut_after=cut_after)
    resumed = run(pool, tmp_path / "cut.ckpt")
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_a_network_with_dropout_goes_on_to_the_same_weights_and_leaves_the_global_generator_alone(
    pool: Pool, tmp_path: Path
) -> None:
    def network() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(make_student("nano", 8), nn.Dropout(0.5), nn.Linear(8, 2))

    whole = run(pool, tmp_path / "whole.ckpt", network=network())
    assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(Cut):
        run(pool, tmp_path / "cut.ckpt", cut_after=1, network=network())
    resumed = run(pool, tmp_path / "cut.ckpt", network=network())
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_a_loss_that_is_not_finite_ends_with_a_line_that_says_so(pool: Pool, tmp_path: Path) -> None:
    def objective(network: nn.Module, batch: Batch) -> Tensor:
        return torch.as_tensor(network(pool.pictures[batch.index].float())).sum() * float("nan")

    with pytest.raises(DataError, match=r"the loss became nan in epoch 1; lower the learning rate \(now 0\.005\)"):
        fit(
            make_student("nano", 2), pool, objective, SCHEDULE, choose_place("cpu"),
            file=tmp_path / "a.ckpt", watch=lambda _network, entry: entry,
        )  # fmt: skip


def test_weights_that_the_last_step_spoilt_are_told_before_they_are_kept(pool: Pool, tmp_path: Path) -> None:
    def objective(network: nn.Module, batch: Batch) -> Tensor:
        # A root at 0: the loss is finite, its slope is not, and no later step looks at a loss.
        return (torch.as_tensor(network(pool.pictures[batch.index].float())).sum() * 0).square().sqrt()

    schedule = dataclasses.replace(SCHEDULE, epochs=1, batch=32)
    with pytest.raises(DataError, match=r"weights are no longer finite in epoch 1; lower the learning rate"):
        fit(
            make_student("nano", 2), pool, objective, schedule, choose_place("cpu"),
            file=tmp_path / "a.ckpt", watch=lambda _network, entry: entry,
        )  # fmt: skip
    assert not (tmp_path / "a.ckpt").exists()


def test_a_damaged_checkpoint_is_named(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"a\.ckpt is damaged; remove it"):
        run(pool, tmp_path / "a.ckpt")


def test_rare_classes_are_lifted_half_way_and_every_pass_has_the_same_length() -> None:
    truth = torch.tensor([0] * 90 + [1] * 10)
    drawn = torch.stack([truth[order(truth, SCHEDULE, view)].float().mean() for view in range(50)])
    # Shares of 9 to 1 become 3 to 1.
    assert float(drawn.mean()) == pytest.approx(0.25, abs=0.02)
    assert len(order(truth, SCHEDULE, 0)) == 100


def test_without_balance_a_pass_shows_every_picture_once() -> None:
    truth = torch.tensor([0] * 90 + [1] * 10)
    places = order(truth, dataclasses.replace(SCHEDULE, balance="none"), 3)
    assert sorted(places.tolist()) == list(range(100))


def test_biases_and_batch_norms_do_not_decay() -> None:
    weights, others = _optimizer(make_student("nano", 2), SCHEDULE).param_groups
    assert (weights["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert {parameter.ndim for parameter in others["params"]} == {1}
    assert min(parameter.ndim for parameter in weights["params"]) == 2


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    paces = [pace(step, 100, 10) for step in range(100)]
    assert paces[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(a >= b for a, b in itertools.pairwise(paces[10:]))
    assert paces[-1] < 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_asking_for_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--device cuda: .* sees no GPU here"):
        choose_place("cuda")
