"""A claim is whole or not there, and goes when its training kept nothing."""

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlight_edge.errors import DataError
from kdlight_train import pretrain, training
from kdlight_train.claim import given_back
from kdlight_train.data import open_data
from kdlight_train.recipe import read_recipe


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let this process open files but write nothing into them, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_of_a_claim_and_the_place_is_free_later(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    data, recipe = open_data([make(tmp_path / "data", {"train/a": 12, "train/b": 12})]), read_recipe(None, {})
    run, start = tmp_path / "run", tmp_path / "starts" / "start.pt"
    record = training._record(recipe, data, start=None, weights="torchvision", foreign={})
    with full_disk():
        with pytest.raises(DataError, match="run cannot be written: File too large"):
            training._claim(run, record, resume=False)
        with pytest.raises(DataError, match=r"start\.pt cannot be written: File too large"):
            pretrain._claim(start, recipe, [data])
    assert not [*run.iterdir(), *start.parent.iterdir()]
    assert training._claim(run, record, resume=False) == run / "run.json"
    assert pretrain._claim(start, recipe, [data]) == start.with_suffix(".json")


@pytest.mark.parametrize(("ended", "kept"), [(DataError, False), (KeyboardInterrupt, False), (DataError, True)])
def test_a_claim_goes_when_its_training_ends_before_it_kept_anything(
    tmp_path: Path, ended: type[BaseException], *, kept: bool
) -> None:
    claim, state = tmp_path / "run.json", tmp_path / "student.ckpt"
    claim.touch()
    if kept:
        state.touch()
    with pytest.raises(ended), given_back(claim, state):
        raise ended
    assert claim.exists() == kept
