"""A claim is whole or not there, and goes when its training kept nothing; one training at a time works in a place."""

import contextlib
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError, KDLightError
from kdlight_train import identity, pretrain
from kdlight_train.claim import LOCK, alone, given_back
from kdlight_train.data import open_data
from kdlight_train.place import Place
from kdlight_train.recipe import read_recipe

HERE = Place(torch.device("cpu"), bf16=False)


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
    record = identity.record_of(recipe, data, start=None, weights="torchvision", foreign={})
    with full_disk():
        with pytest.raises(DataError, match="run cannot be written: File too large"):
            identity.take(run, record, resume=False)
        with pytest.raises(DataError, match=r"start\.pt cannot be written: File too large"):
            pretrain._claim(start, recipe, [data])
    assert not [*run.iterdir(), *start.parent.iterdir()]
    assert identity.take(run, record, resume=False) == run / "run.json"
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


@pytest.mark.parametrize("more", [[], ["--resume"], ["--qat"], ["--qat", "--from", "wall.kdl"]])
def test_a_second_training_in_the_same_folder_is_refused_in_one_line_and_changes_nothing(
    tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    data, run = make(tmp_path / "data", {"a": 12, "b": 12}), tmp_path / "run"
    run.mkdir()
    for name in ("run.json", *(["student.pt"] if more == ["--qat"] else [])):
        (run / name).write_text("{}")
    with alone(run / LOCK, HERE, "held"):
        before = {file: file.read_bytes() for file in run.iterdir()}
        assert main(["train", "--data", str(data), "--out", str(run), "--device", "cpu", *more]) == 1
        said = f"another training is at work in --out {run}; wait until it has ended, or choose another --out"
        assert capsys.readouterr().err == f"kdlight-edge: {said}\n"
        assert {file: file.read_bytes() for file in run.iterdir()} == before


def test_a_second_pretraining_of_the_same_start_is_refused(
    tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = make(tmp_path / "data", {"a": 12, "b": 12}), tmp_path / "start.pt"
    with alone(tmp_path / "start.lock", HERE, "held"):
        assert main(["pretrain", "--data", str(data), "--out", str(out), "--device", "cpu"]) == 1
    assert f"another pretraining is at work on {out}; wait" in capsys.readouterr().err
    assert not (tmp_path / "start.json").exists()


def test_a_killed_training_leaves_no_lock_and_of_several_processes_the_first_alone_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "run" / LOCK
    holder = (
        "import sys, time; from pathlib import Path; from unittest.mock import Mock; "
        "from kdlight_train.claim import alone\n"
        "with alone(Path(sys.argv[1]), Mock(first=True, agree=bool), ''): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, file], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(KDLightError, match="busy"), alone(file, HERE, "busy"):
            pass
        with alone(file, Mock(first=False, agree=bool), "busy"):
            pass
        process.send_signal(signal.SIGKILL)
    with alone(file, HERE, "busy"):
        pass


def test_a_place_that_takes_no_lock_is_told_by_what_is_written_there(
    tmp_path: Path, make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = make(tmp_path / "data", {"a": 12, "b": 12}), tmp_path / "file"
    run.touch()
    assert main(["train", "--data", str(data), "--out", str(run), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"kdlight-edge: --out {run} cannot be written: File exists"
