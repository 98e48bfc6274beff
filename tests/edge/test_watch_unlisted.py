"""What is not read of a watched folder is told once, and a folder that could not be listed once more when it can be."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlight_edge.sources.watch import Watch
from tests.waiting import LIMIT, until


@pytest.fixture
def told(tmp_path: Path) -> Iterator[list[str]]:
    (tmp_path / "in/sub").mkdir(parents=True)
    lines: list[str] = []
    source = Watch(tmp_path / "in", poll=0.01, settle=0.0, report=lines.append)
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    yield lines
    source.close()
    thread.join(LIMIT)


def test_a_share_that_is_away_is_told_once_and_when_it_is_back(told: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").rename(tmp_path / "away")
    until(lambda: len(told) == 1)
    time.sleep(0.1)  # many a look
    (tmp_path / "away").rename(tmp_path / "in")
    until(lambda: len(told) > 1)
    assert told == [
        f"{tmp_path}/in cannot be watched: No such file or directory; it is looked for again, its pictures wait",
        f"{tmp_path}/in is there again",
    ]


def test_a_folder_below_that_may_not_be_listed_is_told(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("in/sub/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    with monkeypatch.context() as now:
        now.setattr("kdlight_edge.sources.watch.os.scandir", refusing)
        until(lambda: len(told) == 1)
        time.sleep(0.1)  # many a look
    until(lambda: len(told) > 1)
    (tmp_path / "in/sub").rmdir()  # removed: that is no failure
    time.sleep(0.1)
    assert told == [
        f"{tmp_path}/in/sub cannot be watched: Permission denied; it is looked for again, its pictures wait",
        f"{tmp_path}/in/sub is there again",
    ]


def test_files_that_are_not_read_are_told_once_for_each_ending(told: list[str], tmp_path: Path) -> None:
    (tmp_path / "in/IMG_1.HEIC").touch()
    until(lambda: len(told) == 1)
    (tmp_path / "in/sub/IMG_2.heic").touch()
    (tmp_path / "in/.part").touch()
    time.sleep(0.1)  # many a look
    for number in range(9):
        (tmp_path / f"in/a.{number}").touch()
    until(lambda: len(told) == 5)
    time.sleep(0.1)
    assert told[0] == f"{tmp_path}/in/IMG_1.HEIC is not read, as its name is no picture's; nor are others of its ending"
    assert len(told) == 5
