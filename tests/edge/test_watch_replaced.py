"""A picture of a watched folder that is changed in the moment in which it is read: the bytes that were read count."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources.watch import Watch
from tests.waiting import LIMIT, until

RED, GREEN = (
    cv2.imencode(".bmp", np.full((64, 64, 3), colour, np.uint8))[1].tobytes() for colour in ((0, 0, 220), (0, 220, 0))
)
SETTLE, GIVEUP = 0.05, 1.0


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Callable[[int], list[Frame | Unreadable]]]:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.bmp").write_bytes(RED)
    source = Watch(tmp_path / "in", poll=0.01, settle=SETTLE, giveup=GIVEUP)
    got: list[Frame | Unreadable] = []
    thread = threading.Thread(target=lambda: got.extend(source))

    def take(count: int) -> list[Frame | Unreadable]:
        thread.start()
        until(lambda: len(got) >= count)
        time.sleep(6 * SETTLE)  # whatever would come a second time
        return got

    yield take
    source.close()
    thread.join(LIMIT)


def test_a_picture_that_is_replaced_before_it_is_opened_is_given_once_as_what_it_is(
    taken: Callable[[int], list[Frame | Unreadable]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def replace_first(path: str, *rest: int) -> int:
        if os.fspath(path).endswith("a.bmp") and not replaced:
            replaced.append(path)
            (tmp_path / "new").write_bytes(GREEN)
            os.utime(tmp_path / "new", (1000, 1000))
            (tmp_path / "new").rename(path)
        return opened(path, *rest)

    replaced: list[str] = []
    monkeypatch.setattr(os, "open", replace_first)
    got = taken(1)
    assert [tuple(item.image[0, 0]) for item in got if isinstance(item, Frame)] == [(0, 220, 0)]


def test_a_picture_that_is_written_over_while_it_is_read_is_given_only_once_it_stays(
    taken: Callable[[int], list[Frame | Unreadable]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def overwritten(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        if content == RED and not written:
            written.append(1)
            time.sleep(0.01)  # another time of change, however coarse the disk's are
            with (tmp_path / "in/a.bmp").open("r+b") as file:
                file.write(GREEN)
            return content[: len(content) // 2] + GREEN[len(content) // 2 :]  # what a reader in its middle gets
        return content

    written: list[int] = []
    monkeypatch.setattr(os, "read", overwritten)
    got = taken(1)
    assert len(got) == 1
    assert isinstance(got[0], Frame)
    assert {tuple(pixel) for pixel in got[0].image.reshape(-1, 3)} == {(0, 220, 0)}


def test_a_share_that_tells_two_states_of_one_file_costs_a_line_and_not_the_picture_in_silence(
    taken: Callable[[int], list[Frame | Unreadable]], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat

    def another(descriptor: int) -> object:
        found = status(descriptor)
        return SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_mtime_ns=found.st_mtime_ns + 1)

    monkeypatch.setattr("kdlight_edge.picture.os.fstat", another)
    (item,) = taken(1)
    assert isinstance(item, Unreadable)
    assert item.reason == "the file was changed before it was read to its end"
