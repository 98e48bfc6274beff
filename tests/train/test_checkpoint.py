"""A checkpoint is whole whoever writes it, and a folder of them belongs to one training at a time."""

import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from kdlight_edge.errors import DataError
from kdlight_train import checkpoint
from kdlight_train.data import open_data
from kdlight_train.place import Place, choose_place
from kdlight_train.recipe import read_recipe
from kdlight_train.start import load_start
from kdlight_train.turn import turn
from kdlight_train.workshop import Shelf, teach_teacher


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 64 KiB, as a disk without room would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_keeps_the_older_checkpoint_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    checkpoint.save(file, {"history": [1]})
    with pytest.raises(DataError, match="could not be written"):
        checkpoint.save(file, {"history": [1, 2], "weights": torch.zeros(100_000)})
    assert checkpoint.load(file) == {"history": [1]}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02s.", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_checkpoint_is_called_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(checkpoint.Damaged, match=r"a\.ckpt is damaged"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path / "a.ckpt", {})

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    for load in (checkpoint.load, lambda file: load_start(file, "nano")):
        with pytest.raises(DataError, match=r"a\.ckpt cannot be read: Permission denied; mend that and try again"):
            load(tmp_path / "a.ckpt")


def test_a_checkpoint_without_a_folder_is_not_answered_by_asking_for_room(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(No such file or directory\); mend that and go on with --resume"):
        checkpoint.save(tmp_path / "gone" / "a.ckpt", {})


def test_two_that_save_the_same_file_leave_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "teacher.ckpt"

    def save(seed: int) -> None:
        for _ in range(12):
            checkpoint.save(file, {"history": [seed], "weights": torch.full((300_000,), float(seed))})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, (1, 2)))
    state = checkpoint.load(file) or {}
    assert set(np.unique(state["weights"].numpy())) == set(state["history"])
    assert list(tmp_path.iterdir()) == [file]


def test_what_killed_trainings_left_is_cleared_and_what_is_being_written_stays(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f"{name}.part" for name in ("a.ckpt.0badcafe", "a.ckpt.0000cafe", "b.ckpt.0badcafe"))
    for part in (old, new, other):
        part.write_bytes(b"half")
    for part in (old, other):
        os.utime(part, (time.time() - 2 * checkpoint.LEFT,) * 2)
    checkpoint.save(tmp_path / "a.ckpt", {})
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_second_training_waits_for_the_teacher_that_another_one_makes(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    data = make(tmp_path / "data", {"train/a": 12, "train/b": 12})
    torch.save(_network().state_dict(), tmp_path / "weights.pth")
    changes = {"teacher.name": "mobilenet_v3_small", "teacher.imgsz": 32, "teacher.epochs": 1, "input.imgsz": 32}
    recipe = read_recipe(None, changes)
    told: list[str] = []
    shelf = Shelf(open_data([data]), recipe, choose_place("cpu"), told.append)
    first = teach_teacher(shelf, tmp_path / "weights.pth", tmp_path, told.append)
    (made,) = tmp_path.glob("teachers/*/teacher.ckpt")
    teacher = made.read_bytes()
    made.unlink()
    handle = os.open(made.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    def finish(line: str) -> None:
        told.append(line)
        if "waiting" in line:  # the other training ends now
            made.write_bytes(teacher)
            os.close(handle)

    second = teach_teacher(shelf, tmp_path / "weights.pth", tmp_path, finish)
    assert told == [
        f"teacher mobilenet_v3_small: another training makes it in {made.parent}; waiting",
        f"teacher mobilenet_v3_small: going on from {made.parent}",
    ]
    assert made.read_bytes() == teacher
    assert np.array_equal(first.logits["val"], second.logits["val"])


def test_a_process_that_is_not_the_first_holds_no_folder(tmp_path: Path) -> None:
    told: list[str] = []
    with turn(tmp_path, choose_place("cpu"), told.append, "waiting"):

        class Second(Place):
            """The second of two processes, whose first holds the folder."""

            def agree(self, answer: bool) -> bool:  # noqa: FBT001 - as in `Place`
                assert not answer
                return True

        with turn(tmp_path, Second(torch.device("cpu"), bf16=False, rank=1, world=2), told.append, "waiting"):
            pass
    assert told == []


def _network() -> torch.nn.Module:
    import torchvision

    network: torch.nn.Module = torchvision.models.mobilenet_v3_small()
    return network
