"""The queue on the disk: in order, bounded, whole after kill -9, and one process at a time."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.spare import default_path
from kdlight_edge.sinks.store import Store
from tests.edge.stores import bodies, drain, settle


def test_what_is_put_in_comes_out_in_order_and_only_once_taken_it_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite")
    for text in "abc":
        store.put(text)
    assert bodies(store) == ["a", "b", "c"]
    assert store.after(1, 1) == [(2, "b")]
    store.take([1, 3, 99])
    assert (bodies(store), len(store)) == (["b"], 1)
    store.close()
    store.close()


def test_a_store_goes_on_where_it_was_left_and_no_number_is_used_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite")
    name = store.name
    store.put("a")
    store.put("b")
    store.take([1, 2])
    store.close()
    again = Store(tmp_path / "q.sqlite")
    again.put("c")
    assert again.after(0, 9) == [(3, "c")]
    assert again.name == name
    again.close()


def test_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite", limit=1000)
    for number in range(25):
        store.put(f"{number:0100}")
    left = [int(body) for body in bodies(store)]
    assert left == list(range(25 - len(left), 25))
    assert 7 <= len(left) <= 10
    assert store.dropped == 25 - len(left)
    store.close()


def test_texts_of_the_disk_and_of_the_tail_come_in_order_and_no_more_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "q.sqlite")
    settle(store, "ab", monkeypatch)
    store.put("c")
    assert store.after(0, 2) == [(1, "a"), (2, "b")]
    assert store.after(1, 2) == store.after(1, 9) == [(2, "b"), (3, "c")]
    store.close()


def test_what_was_taken_out_of_the_file_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite", limit=1000)
    for _ in range(10):
        for _ in range(5):
            store.put("x" * 100)
        store.tidy()
        assert len(drain(store)) == 5
    assert store.dropped == 0
    store.close()


def test_a_tail_that_grows_goes_to_the_disk_before_anything_has_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.TAIL_LIMIT", 1000)
    store = Store(tmp_path / "q.sqlite")
    for number in range(50):
        store.put(f"{number:0100}")
    assert store._tail.bytes <= 1200
    assert [int(body) for body in bodies(store)] == list(range(50))
    store.close()


def test_numbers_are_set_aside_for_a_year_as_a_disk_may_turn_read_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite")
    assert store._reserved - store._last > 30 * 3600 * 24 * 365
    store.close()


def test_what_a_disk_refuses_to_take_out_counts_as_gone_and_is_taken_out_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    monkeypatch.setattr("kdlight_edge.sinks.store.SLICE", 2)
    store = Store(tmp_path / "q.sqlite")
    for text in "abcde":
        store.put(text)
    store.tidy()
    store._data.execute("PRAGMA query_only = ON")
    store.take(range(1, 6))
    for number in range(6, 600):
        store.put("x" * 1000)
        store.take([number])
        with pytest.raises(KDLightError, match="readonly"):
            store.tidy()
    assert len(store) == 0
    assert len(store._gone) == 5, "what is in memory is not asked for again"
    assert store._tail.size < 100_000, "the file in memory does not grow without end"
    store._data.execute("PRAGMA query_only = OFF")
    store.tidy()
    store.close()
    again = Store(tmp_path / "q.sqlite")
    assert bodies(again) == []
    again.close()


def test_what_was_taken_out_and_is_still_in_a_full_tail_comes_out_by_way_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    store.put("a")
    store.put("b")
    with monkeypatch.context() as full:
        full.setattr("kdlight_edge.sinks.tail._write", refused)
        store.take([1])
        store.tidy()
        store.tidy()
    assert (bodies(store), len(store), store._tail.texts) == (["b"], 1, {})
    store.close()


def test_what_was_sent_and_could_not_be_taken_out_is_not_counted_as_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "q.sqlite", limit=1000)
    for _ in range(9):
        store.put("x" * 100)
    with monkeypatch.context() as full:
        full.setattr(store, "_take_out", lambda: None)
        store.take(range(1, 10))
    store.put("y" * 200)
    assert (store.dropped, len(store), bodies(store)) == (0, 1, ["y" * 200])
    store.close()


def test_a_store_is_never_seen_empty_while_something_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = Store(tmp_path / "q.sqlite"), list[int]()
    take = store._tail.take

    def looked_at(numbers: Iterable[int]) -> int:
        found = take(numbers)
        seen.append(len(store))  # as another thread may, at any moment
        return found

    for _ in range(20):
        store.put("x")
    monkeypatch.setattr(store._tail, "take", looked_at)
    store.take(range(1, 11))
    assert (seen, len(store)) == ([10], 10)
    store.close()


def test_the_file_stays_small_when_much_has_gone_through_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite", limit=10_000)
    for _ in range(40):
        for _ in range(50):
            store.put("x" * 100)
        store.tidy()
        store.checkpoint()
    size = sum(entry.stat().st_size for entry in tmp_path.iterdir())
    assert size < 300_000
    store.close()


def test_two_threads_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite")

    def write() -> None:
        for number in range(500):
            store.put(str(number))

    writer = threading.Thread(target=write)
    writer.start()
    got: list[str] = []
    while len(got) < 500:
        found = store.after(0, 20)
        store.take([number for number, _ in found])
        store.tidy()
        got += [body for _, body in found]
    writer.join()
    assert got == [str(n) for n in range(500)]
    store.close()


def test_a_share_that_knows_no_locks_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.raises(KDLightError, match=r"q\.sqlite cannot be written: .*No locks available; name another"):
        Store(tmp_path / "q.sqlite")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "q.sqlite")
    with pytest.raises(KDLightError, match="in use by another kdlight-edge"):
        Store(tmp_path / "q.sqlite")
    store.close()


def test_a_full_disk_is_an_error_and_the_store_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    store.put("a")
    store.tidy()
    (pages,) = store._data.execute("PRAGMA page_count").fetchone()
    store._data.execute(f"PRAGMA max_page_count = {pages}")
    store.put("x" * 100_000)
    with pytest.raises(KDLightError, match="full"):
        store.tidy()
    assert len(store) == 2
    store._data.execute("PRAGMA max_page_count = 100000")
    store.put("b")
    store.tidy()
    assert bodies(store) == ["a", "x" * 100_000, "b"]
    assert store._tail.texts == {}
    store.close()


def test_a_full_folder_of_the_tail_is_an_error_and_the_text_is_not_there(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    store = Store(tmp_path / "q.sqlite")
    store.put("a")
    good, store._tail._handle = store._tail._handle, os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(KDLightError, match="No space left"):
        store.put("b")
    os.close(store._tail._handle)
    store._tail._handle = good
    store.put("c")
    assert store.after(0, 9) == [(1, "a"), (2, "c")]
    store.close()


def test_what_is_taken_out_soon_never_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "run"
    memory.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{memory}:/elsewhere")
    store = Store(tmp_path / "q.sqlite")
    store.checkpoint()
    files = {path: path.read_bytes() for path in tmp_path.glob("q.sqlite*")}
    for number in range(1, 2000):
        store.put("x" * 100)
        store.take([number])
        store.tidy()
    assert {path: path.read_bytes() for path in tmp_path.glob("q.sqlite*")} == files
    assert (memory / "q.sqlite.tail").stat().st_size < 100_000, "it is begun anew now and then"
    store.close()
    assert list(memory.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(KDLightError, match="name another --mqtt-store"):
        Store(tmp_path / "file" / "q.sqlite")


def test_a_service_keeps_its_store_in_its_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path))
    assert default_path("wall") == tmp_path / "kdlight-edge" / "mqtt-wall.sqlite"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/kdlight:/var/lib/other")
    assert default_path("wall") == Path("/var/lib/kdlight/mqtt-wall.sqlite")
