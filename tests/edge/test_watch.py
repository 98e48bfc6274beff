"""A watched folder: each picture once, whole, over restarts and kills."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import KDLightError, SourceError, UsageError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources import Album, Patience, open_source, tell
from kdlight_edge.sources.seen import Look, Seen
from kdlight_edge.sources.watch import Watch, load
from tests.waiting import LIMIT, until

WHOLE = cv2.imencode(".jpg", np.full((40, 40, 3), (0, 0, 220), np.uint8))[1].tobytes()
FAST = {"poll": 0.01, "settle": 0.03, "giveup": 0.3}


def put(path: Path, content: bytes = WHOLE, *, at: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if at is not None:
        os.utime(path, (at, at))


class Reader:
    """Takes from a source in a thread, as the stream does."""

    def __init__(self, source: Watch) -> None:
        self.source = source
        self.got: list[Frame | Unreadable] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        for item in self.source:
            self.got.append(item)

    def names(self) -> list[str]:
        """Return what came, by its path below the folder."""
        return [item.meta["below"] for item in self.got]

    def until(self, count: int) -> None:
        """Wait for so many pictures."""
        end = time.monotonic() + LIMIT
        while len(self.got) < count:
            assert time.monotonic() < end, self.names()
            time.sleep(0.005)

    def close(self) -> None:
        """End it."""
        self.source.close()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []
    (tmp_path / "in").mkdir()

    def make(**options: object) -> Reader:
        made.append(Reader(Watch(tmp_path / "in", **{**FAST, **options})))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for reader in made:
        reader.close()


def test_what_is_there_and_what_comes_is_given_once_oldest_first(watch: Callable[..., Reader], tmp_path: Path) -> None:
    put(tmp_path / "in/b.jpg", at=1000)
    put(tmp_path / "in/sub/a.jpg", at=2000)
    reader = watch()
    reader.until(2)
    put(tmp_path / "in/sub/deep/c.jpg")
    put(tmp_path / "in/.hidden.jpg")
    put(tmp_path / "in/note.txt")
    reader.until(3)
    put(tmp_path / "in/d.jpg")
    reader.until(4)
    assert reader.names() == ["b.jpg", "sub/a.jpg", "sub/deep/c.jpg", "d.jpg"]
    assert [item.index for item in reader.got] == [0, 1, 2, 3]
    assert isinstance(reader.got[0], Frame)
    assert reader.got[0].image.shape == (40, 40, 3)
    assert reader.got[0].meta["decode_ms"] > 0


def test_a_file_that_grows_slowly_is_given_once_and_whole(watch: Callable[..., Reader], tmp_path: Path) -> None:
    reader = watch(giveup=LIMIT)
    path = tmp_path / "in/slow.jpg"
    looked = reader.source._list
    for end in range(0, len(WHOLE), max(1, len(WHOLE) // 5)):
        put(path, WHOLE[:end])
        since = time.monotonic()
        while time.monotonic() - since < 2 * FAST["settle"]:  # settled, and still not a whole picture
            assert looked().found
        assert reader.got == []
    put(path)
    put(tmp_path / "in/after.jpg")
    reader.until(2)
    assert sorted(reader.names()) == ["after.jpg", "slow.jpg"]
    assert all(isinstance(item, Frame) for item in reader.got)


def test_a_file_that_never_gets_whole_is_reported_and_the_rest_goes_on(
    watch: Callable[..., Reader], tmp_path: Path
) -> None:
    put(tmp_path / "in/torn.jpg", WHOLE[:-10], at=1000)
    put(tmp_path / "in/zero.png", b"", at=1001)
    put(tmp_path / "in/good.jpg", at=1002)
    reader = watch()
    reader.until(3)
    reasons = {item.meta["below"]: item.reason for item in reader.got if isinstance(item, Unreadable)}
    assert reader.names()[0] == "good.jpg"
    assert set(reasons) == {"torn.jpg", "zero.png"}
    assert "truncated" in reasons["torn.jpg"]


def test_a_picture_written_anew_is_another_picture(watch: Callable[..., Reader], tmp_path: Path) -> None:
    put(tmp_path / "in/a.jpg", at=1000)
    reader = watch()
    reader.until(1)
    put(tmp_path / "in/a.jpg", at=2000)
    reader.until(2)
    assert reader.names() == ["a.jpg", "a.jpg"]


def test_what_was_there_before_can_be_left_out(watch: Callable[..., Reader], tmp_path: Path) -> None:
    put(tmp_path / "in/old.jpg")
    reader = watch(new=True)
    put(tmp_path / "in/new.jpg")
    reader.until(1)
    assert reader.names() == ["new.jpg"]


def test_a_list_of_seen_pictures_survives_a_restart(watch: Callable[..., Reader], tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    put(tmp_path / "in/a.jpg", at=1000)
    put(tmp_path / "in/b.jpg", at=1001)
    first = watch(seen=seen)
    first.until(2)
    put(tmp_path / "in/c.jpg")
    first.until(3)
    first.close()
    (tmp_path / "in/a.jpg").unlink()
    with Path(seen).open("a", encoding="ascii") as torn:
        torn.write('["in/x.jp')
    put(tmp_path / "in/d.jpg")
    second = watch(seen=seen)
    second.until(1)
    second.close()
    assert second.names() == ["d.jpg"]
    listed = sorted(json.loads(line)[0] for line in Path(seen).read_text().splitlines())
    assert listed == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "a.jpg has gone, and might come back"


def test_a_folder_that_goes_away_for_a_while_is_watched_again(watch: Callable[..., Reader], tmp_path: Path) -> None:
    put(tmp_path / "in/a.jpg", at=1000)
    reader = watch()
    reader.until(1)
    (tmp_path / "in").rename(tmp_path / "away")
    put(tmp_path / "away/b.jpg")
    (tmp_path / "away").rename(tmp_path / "in")
    reader.until(2)
    assert reader.names() == ["a.jpg", "b.jpg"]


def unmount(folder: Path) -> None:
    folder.rename(folder.with_name("server"))
    folder.mkdir()


def mount(folder: Path) -> None:
    folder.rmdir()
    folder.with_name("server").rename(folder)


def test_a_share_that_is_unmounted_for_a_while_gives_no_picture_again(
    watch: Callable[..., Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sources.seen.FORGET", 0.0)
    for name in ("a", "sub/b"):
        put(tmp_path / f"in/{name}.jpg", at=1000)
    reader = watch()
    reader.until(2)
    looks: list[Look] = []
    look, scandir = reader.source._list, os.scandir

    def looked() -> Look:
        looks.append(look())
        return looks[-1]

    def failing(path: str) -> object:
        if str(path).endswith("in/sub/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return scandir(path)

    monkeypatch.setattr(reader.source, "_list", looked)
    unmount(tmp_path / "in")
    until(lambda: any(not seen.found for seen in looks))
    mount(tmp_path / "in")
    monkeypatch.setattr("kdlight_edge.sources.watch.os.scandir", failing)
    until(lambda: any(seen.unlisted == ("sub/",) for seen in looks))
    monkeypatch.undo()
    put(tmp_path / "in/sub/c.jpg")
    reader.until(3)
    assert reader.names() == ["a.jpg", "sub/b.jpg", "sub/c.jpg"]


def test_a_start_before_the_share_is_mounted_keeps_the_list(watch: Callable[..., Reader], tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    put(tmp_path / "in/a.jpg", at=1000)
    first = watch(seen=seen)
    first.until(1)
    first.close()
    unmount(tmp_path / "in")
    second = watch(seen=seen)
    mount(tmp_path / "in")
    put(tmp_path / "in/b.jpg")
    second.until(1)
    assert second.names() == ["b.jpg"]


def test_what_has_gone_for_long_is_forgotten_but_not_on_the_word_of_another_file_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = (1, 1)
    here, there = Look({"a.jpg": state, "b.jpg": state}, (), 1), Look({"local.jpg": state}, (), 2)
    seen = Seen("", here, new=True)
    monkeypatch.setattr("kdlight_edge.sources.seen.FORGET", 0.0)
    seen.forget(there)
    assert len(seen) == 2
    seen.forget(Look({"b.jpg": state}, (), 3))  # the share is back under another number
    assert seen.fresh(here) == {"a.jpg": state}
    monkeypatch.setattr("kdlight_edge.sources.seen.FORGET", 60.0)
    seen.forget(Look({"c.jpg": state}, (), 3))
    assert len(seen) == 1


def test_the_list_stays_short_when_much_comes_and_goes_and_so_does_what_is_remembered_of_earlier_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sources.seen.FORGET", 0.0)
    monkeypatch.setattr("kdlight_edge.sources.seen.SLACK", 10)
    path = tmp_path / "seen"
    seen, longest = Seen(str(path), Look({}, (), 1), new=False), 0
    for number in range(300):
        look = Look({f"{number}.jpg": (number, number)}, (), 1)
        seen.forget(look)
        seen.remember(f"{number}.jpg", (number, number), look)
        longest = max(longest, len(path.read_text().splitlines()))
    assert longest < 20
    with pytest.raises(KDLightError, match="is being written by another process"):
        Seen(str(path), look, new=False)
    monkeypatch.setattr("kdlight_edge.durable.write_text", full)
    for number in range(300, 400):
        look = Look({f"{number}.jpg": (number, number)}, (), 1)
        seen.remember(f"{number}.jpg", (number, number), look)
    seen.close()
    monkeypatch.undo()
    again = Seen(str(path), look, new=False)
    assert again.fresh(look) == {}
    again.close()
    monkeypatch.setattr("kdlight_edge.sources.seen.EARLIER", 7)
    path.write_text("".join(f'["{number}.jpg", 1, 1]\n' for number in range(100)))
    last = Seen(str(path), Look({"3.jpg": (1, 1)}, (), 1), new=False)
    assert len(last) == 8
    last.close()


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_watched_folder_is_a_source_that_gives_every_picture_and_never_ends() -> None:
    source = open_source("watch:.?poll=5", Patience(), tell)
    assert isinstance(source, Watch)
    assert not source.live
    assert not isinstance(source, Album)
    source.close()
    assert list(source) == []


def test_a_watch_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be watched: No such file"):
        Watch(tmp_path / "none")
    for options in ("pole=1", "poll=x", "poll=0", "settle=-1", "new=2", "poll=inf"):
        with pytest.raises(UsageError, match="watch:"):
            load(f"watch:{tmp_path}?{options}", Patience(), tell)
    (tmp_path / "seen").write_text("dear sir\nor madam\n")
    with pytest.raises(SourceError, match="line 1 is not of a list of seen pictures"):
        Watch(tmp_path, seen=str(tmp_path / "seen"))
    with pytest.raises(KDLightError, match="cannot be written: No such file"):
        Watch(tmp_path, seen=str(tmp_path / "none" / "seen"))


def test_infer_gives_each_picture_once_over_stops_and_loses_none_over_kills(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    uri = f"watch:{tmp_path}/in?poll=0.02&settle=0.02&seen={tmp_path}/seen"
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--source", uri, "--json", "--model", str(tiny_bundle()),
    ]  # fmt: skip
    (tmp_path / "in").mkdir()
    told: list[str] = []
    for run, end in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)):
        for number in range(6):
            put(tmp_path / f"in/{run}-{number}.jpg", at=1000 + 10 * run + number)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            while told[-1:] != [f"{run}-5.jpg"]:
                told.append(Path(json.loads(child.stdout.readline())["source"]).name)
            child.send_signal(end)
            told += [Path(json.loads(line)["source"]).name for line in child.stdout]
            assert child.wait(LIMIT) == (0 if end != signal.SIGKILL else -signal.SIGKILL)
    wanted = [f"{run}-{number}.jpg" for run in range(4) for number in range(6)]
    # A kill between a result and the note of it gives the picture again, and never takes one away.
    assert list(dict.fromkeys(told)) == wanted
    assert told[:18] == wanted[:18]
    assert len(told) <= len(wanted) + 1
