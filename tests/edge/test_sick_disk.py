"""A camera that is started where the disk takes nothing, full or read-only: it goes on with what does not need it."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import KDLightError
from kdlight_edge.plain import home_of
from kdlight_edge.sinks.spare import default_path, open_store
from kdlight_edge.sinks.store import Store

SCENE = "scene:crack?size=64x64&fps=50"


class Disk:
    """A folder that refuses to be written to, and is well again once it is told to be."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sick = errno.EROFS
        opened = os.open

        def refused(path: Any, flags: int, *more: Any, **keywords: Any) -> int:
            if self.sick and flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(folder)):
                raise OSError(self.sick, os.strerror(self.sick), str(path))
            return opened(path, flags, *more, **keywords)

        monkeypatch.setattr(os, "open", refused)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(folder, monkeypatch)
    yield made
    made.sick = 0


def test_a_camera_answers_although_its_files_cannot_be_begun(
    tiny_bundle: Callable[..., Path], folder: Path, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    files = ["--json-file", str(folder / "x.jsonl"), "--event-dir", str(folder)]
    run = ["infer", "--camera", SCENE, "--model", str(tiny_bundle()), "--frames", "3", "--json"]
    assert main([*run, *files]) == 0
    said = capfd.readouterr()
    assert len(said.out.splitlines()) == 3
    assert "x.jsonl cannot be written: Read-only file system" in said.err
    assert "3 of 3 results were not delivered (3 failed)" in said.err
    disk.sick = 0
    assert main([*run, *files]) == 0
    assert len((folder / "x.jsonl").read_text().splitlines()) == 3


def test_a_table_on_a_full_disk_costs_its_rows_and_not_the_camera(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = ["infer", "--model", str(tiny_bundle()), "--csv", "/dev/full"]
    assert main([*run, "--camera", SCENE, "--frames", "3"]) == 0
    assert "csv: 3 of 3 results were not delivered" in capfd.readouterr().err


def test_what_a_folder_is_to_be_written_to_must_be_there(
    tiny_bundle: Callable[..., Path], tmp_path: Path, folder: Path, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
    run = ["infer", "--folder", str(tmp_path), "--model", str(tiny_bundle()), "--json-file", str(folder / "x.jsonl")]
    assert (main(run), disk.sick) == (1, errno.EROFS)
    assert "x.jsonl cannot be written: Read-only file system" in capfd.readouterr().err


def test_results_of_a_service_wait_in_memory_until_the_disk_is_well(
    tmp_path: Path, folder: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    path, memory = folder / "mqtt-wall.sqlite", tmp_path / "run"
    memory.mkdir()
    with pytest.raises(KDLightError, match="name another --mqtt-store"):
        open_store(path, live=True)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(memory))
    with pytest.raises(KDLightError, match="Read-only file system"):
        open_store(path, live=False)
    for number in range(2):
        store = open_store(path, live=True, report=told.append)
        store.put(json.dumps(number))
        store.close()
    assert len(told) == 2
    assert "Read-only file system; results wait in memory instead" in told[0]
    disk.sick = 0
    store = open_store(path, live=True, report=told.append)
    assert [text.partition(" ")[2] for _, text in store.after(0, 9)] == ["0", "1"]
    store.close()
    assert len(told) == 2
    assert not list(memory.glob("spare*"))


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let five results wait in memory, of which two are brought at a time; gives how they stand on the disk then."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("kdlight_edge.sinks.spare.BATCH", 2)
    spare = Store(tmp_path / "spare-x")
    for number in range(5):
        spare.put(str(number))
    spare.close()
    return [f"{spare.name}-{number + 1} {number}" for number in range(5)]


def test_what_waited_in_memory_comes_to_the_disk_once_where_that_fills_up_on_the_way(
    five: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, room = Store.put, iter(range(4))

    def refusing(store: Store, text: str) -> None:
        if next(room, None) is None:
            raise KDLightError("database or disk is full")
        put(store, text)

    with monkeypatch.context() as full:
        full.setattr(Store, "put", refusing)
        open_store(folder / "x", live=True).close()
    store = open_store(folder / "x", live=True)
    assert [text for _, text in store.after(0, 9)] == five
    store.close()


def test_what_waited_in_a_memory_without_room_to_take_it_out_comes_to_the_disk_once(
    five: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, asked = Store.after, iter(range(9))

    def counted(store: Store, number: int, most: int) -> list[tuple[int, str]]:
        next(asked)  # ends the test where it would go on for ever
        return after(store, number, most)

    monkeypatch.setattr(Store, "after", counted)
    monkeypatch.setattr(Store, "_take_out", lambda _: None)
    store = open_store(folder / "x", live=True)
    assert [text for _, text in store.after(0, 9)] == five
    store.close()


def test_a_store_that_another_process_has_is_no_sick_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    store = Store(folder / "x")
    with pytest.raises(KDLightError, match="in use by another"):
        open_store(folder / "x", live=True)
    store.close()


def test_a_user_without_a_home_is_told_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KDLightError, match="no home folder; set HOME or --mqtt-store"):
        default_path("wall")
    with pytest.raises(KDLightError, match="set HOME or XDG"):
        home_of("XDG_CACHE_HOME")
