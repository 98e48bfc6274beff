"""The queue on the disk: in order, bounded, whole after kill -9, and one process at a time."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.spare import default_path
from kdlight_edge.sinks.store import Store


def bodies(store: Store) -> list[str]:
    return [body for _, body in store.after(0, 1000)]


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
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    store.put("a")
    store.put("b")
    store.tidy()
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


def test_a_process_that_is_killed_leaves_all_that_it_put_in(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom kdlight_edge.sinks.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "for n in range(10**9):\n    store.put(str(n))\n    print(n, flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "q.sqlite"], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            for _ in range(200):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines(keepends=True)
        told = max([199, *(int(line) for line in rest if line.endswith("\n"))])
        store = Store(tmp_path / "q.sqlite")
        found = store.after(0, 10**6)
        assert [int(body) for _, body in found] == list(range(len(found)))
        assert len(found) > told
        store.take([number for number, _ in found])
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


def test_a_damaged_file_is_put_aside_and_told(tmp_path: Path) -> None:
    path, told = tmp_path / "q.sqlite", list[str]()
    path.write_bytes(b"this is not a database, whatever its name may say" * 100)
    store = Store(path, report=told.append)
    store.put("a")
    assert bodies(store) == ["a"]
    assert len(told) == 1
    assert "damaged" in told[0]
    assert (tmp_path / "q.sqlite.damaged").exists()
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


def test_a_file_that_is_spoiled_while_it_is_in_use_never_ends_the_thread_that_tidies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    for _ in range(2000):
        store.put("x" * 200)
    store.tidy()
    os.truncate(tmp_path / "q.sqlite", 0)
    for _ in range(3):
        store.put("y")
        with contextlib.suppress(KDLightError):
            store.tidy()
    store.close()


def spoil(store: Store) -> None:
    """Put 3,000 texts on the disk, and something else over most of them."""
    for _ in range(3000):
        store.put("x" * 1000)
    store.tidy()
    store.checkpoint()
    with store.path.open("r+b") as file:
        file.seek(50_000)
        file.write(b"\xa5" * 2_900_000)
    store._data.execute("PRAGMA shrink_memory")


def drain(store: Store) -> list[str]:
    sent, found = 0, list[str]()
    while batch := store.after(sent, 20):
        found += [body for _, body in batch]
        sent = batch[-1][0]
        store.take([number for number, _ in batch])
    return found


def test_a_file_that_is_spoiled_while_it_is_in_use_has_a_successor_and_results_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    told: list[str] = []
    store = Store(tmp_path / "q.sqlite", report=told.append)
    name = store.name
    spoil(store)
    store.put("waits in the tail")
    with pytest.raises(KDLightError, match="malformed"):
        drain(store)
    assert drain(store) == ["waits in the tail"]
    assert len(told) == 1
    assert store.dropped > 2000
    for _ in range(3):
        store.put("y")
        store.tidy()
    ((first, _), *_) = store.after(0, 9)
    assert first > 3000, "no number is given twice under one name"
    assert (store.name, drain(store)) == (name, ["y"] * 3)
    store.close()
    assert (tmp_path / "q.sqlite.damaged").stat().st_size > 3_000_000


def test_a_file_that_is_spoiled_between_two_runs_has_a_successor_that_gives_no_number_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    spoil(store)
    name = store.name
    store.close()
    store = Store(tmp_path / "q.sqlite", report=lambda _: None)
    store.put("y")
    ((number, body),) = store.after(0, 9)
    assert body == "y"
    assert store.name != name or number > 3000
    store.close()


def test_a_successor_that_finds_no_room_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite", report=lambda _: None)
    spoil(store)

    def refuse(*_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(Store, "_connection", refuse)
        with pytest.raises(KDLightError, match="full"):
            drain(store)
        for _ in range(3):
            store.put("y")
            with pytest.raises(KDLightError):
                store.tidy()
    with pytest.raises(KDLightError):  # by which it is begun
        store.tidy()
    store.put("z")
    store.tidy()
    assert drain(store) == ["y", "y", "y", "z"]
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


def test_what_waits_is_on_the_disk_after_some_seconds_and_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
    store = Store(tmp_path / "q.sqlite")
    store.put("a")
    store.put("b")
    store.tidy()
    monkeypatch.setattr("kdlight_edge.sinks.store.WAITED", 5.0)
    store.put("young")
    store.tidy()
    cut = tmp_path / "cut"  # what a disk has when the power goes: the file, and not what is in memory
    cut.mkdir()
    for file in tmp_path.glob("q.sqlite*"):
        if file.suffix != ".tail":
            (cut / file.name).write_bytes(file.read_bytes())
    again = Store(cut / "q.sqlite")
    assert (again.name, bodies(again)) == (store.name, ["a", "b"])
    again.put("c")
    (number, text) = again.after(2, 9)[0]
    assert text == "c"
    assert number > 3, "the number of what was lost may have been sent already, and is not used again"
    again.close()
    store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: apt install strace")
def test_numbers_are_set_aside_on_the_disk_before_the_first_is_given_and_no_other_put_waits_for_it(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys\nfrom kdlight_edge.sinks import store as module\n"
        "module.BLOCK = 4\nstore = module.Store(sys.argv[1])\nos.getppid()\n"  # the marks between the parts
        "for _ in range(4):\n    store.put('x')\nos.getppid()\nstore.put('x')\nos.getppid()\nstore.close()\n"
    )
    told = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync,getppid", "-o", str(told)]
    for _ in range(2):  # the second start finds the numbers that an orderly end has left
        child = [sys.executable, "-c", script, str(tmp_path / "q.sqlite")]
        done = subprocess.run([*command, *child], capture_output=True, text=True, check=False)
        if "ptrace" in done.stderr.lower():
            pytest.skip("strace may not trace here")
        assert done.returncode == 0, done.stderr
        opened, put, put_beyond, _ = told.read_text().split("getppid()")
        assert [part.count("sync(") > 0 for part in (opened, put, put_beyond)] == [True, False, True]


def test_a_tail_of_another_boot_or_of_another_store_is_not_believed(tmp_path: Path) -> None:
    for wrong in (f"=name {'0' * 32} 7", "=other 1 7", "garbage", ""):
        (tmp_path / "q.sqlite.tail").write_text(f"{wrong}\n+8 text\n")
        store = Store(tmp_path / "q.sqlite")
        assert bodies(store) == []
        store.close()


def test_a_process_that_is_killed_between_file_and_tail_leaves_no_text_twice(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom kdlight_edge.sinks import store as module\n"
        "module.WAITED = 0.0\nstore = module.Store(sys.argv[1])\nstore.put('a')\nstore.put('b')\nstore.take([1])\n"
        "store._tail.restart = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nstore.tidy()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "q.sqlite"], check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "q.sqlite")
    assert store.after(0, 9) == [(2, "b")]
    assert len(store) == 1
    store.close()


def test_a_text_that_was_taken_out_before_a_kill_does_not_come_again(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom kdlight_edge.sinks.store import Store\nstore = Store(sys.argv[1])\n"
        "for text in 'abc':\n    store.put(text)\nstore.take([1, 3])\n"
        "os.write(store._tail._handle, b'+4 torn')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "q.sqlite"], check=False)
    store = Store(tmp_path / "q.sqlite")
    store.put("d")
    assert store.after(0, 9) == [(2, "b"), (4, "d")]
    store.close()


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


@pytest.mark.parametrize("where", [b"y" * 50, b"(number INTEGER", b"body TEXT"])
def test_a_byte_that_has_changed_in_a_text_or_a_table_stops_no_store(tmp_path: Path, where: bytes) -> None:
    path, told = tmp_path / "q.sqlite", list[str]()
    store = Store(path)
    for _ in range(30):
        store.put("y" * 200)
    store.close()
    content = bytearray(path.read_bytes())
    place = content.index(where) + 2
    content[place] = 0xF8 if where.startswith(b"y") else ord("q")
    path.write_bytes(content)
    store = Store(path, report=told.append)
    with contextlib.suppress(KDLightError):  # told once
        store.after(0, 1000)
    store.put("new")
    assert bodies(store) == ["new"]
    store.close()
    assert "is damaged" in told[0]
    assert "yyy" not in told[0]
    assert (tmp_path / "q.sqlite.damaged").exists()
