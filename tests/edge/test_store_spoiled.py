"""A store whose file is damaged, before or while it is in use: put aside, told, and followed by another."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.store import Store
from tests.edge.stores import bodies, drain


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
