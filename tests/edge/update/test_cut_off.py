"""A device that is cut off before any change of its disk, while it updates, rolls back or proves, still runs."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_devices.kernel import boot
from kdlight_edge.update import ledger
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


@pytest.fixture
def versions(publisher: Publisher, bundle: Bundles, update: Update, state: State) -> tuple[str, str, str]:
    """Return three versions: the first two proved on the device, the second serving, the third offered."""
    names = []
    for number in ("1", "2"):
        publisher.add(bundle(number))
        name = update() or ""
        names.append(name)
        state.change(lambda old, name=name: ledger.proved(old, name))  # type: ignore[misc]
    return names[0], names[1], publisher.add(bundle("3"))


def cuts(action: str, state: State, repository: Path, factory: Path) -> list[dict[str, Any]]:
    """Cut the action off before each change; return what was seen after each cut, the whole run last."""
    command = [sys.executable, str(Path(__file__).with_name("cut_off.py")), action]
    done = subprocess.run(
        [*command, str(state.folder), str(repository), str(factory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) > 5, "nothing was cut off"
    assert [record["code"] for record in seen[:-1]] == [-signal.SIGKILL] * (len(seen) - 1)
    assert seen[-1]["told"] == "ended"
    return seen


@pytest.mark.slow
def test_cut_off_anywhere_in_an_update_a_device_serves_the_old_or_the_new_and_can_be_updated(
    versions: tuple[str, str, str], state: State, tmp_path: Path, bundle: Bundles
) -> None:
    _, old, new = versions
    seen = cuts("update", state, tmp_path / "repository", bundle("0"))
    assert len(seen) > 20
    served = [record["serves"] for record in seen]
    assert {code for code, _ in served} == {0}
    names = [name for _, name in served]
    assert set(names) == {old, new}
    assert names == sorted(names)  # the old one until the one change that switches, from then on the new one
    for record in seen:
        assert record["again"][0] == 0, record
        if record["serves"][1] == old:
            assert record["serves_then"] == [0, new]


@pytest.mark.slow
def test_cut_off_anywhere_while_a_failed_version_is_left_a_device_serves_the_one_before(
    versions: tuple[str, str, str], state: State, update: Update, tmp_path: Path, bundle: Bundles
) -> None:
    _, old, new = versions
    assert update() == new
    state.change(lambda book: ledger.started(book, boot()))
    seen = cuts("fall", state, tmp_path / "repository", bundle("0"))
    for record in seen:
        assert record["serves"] == record["serves_then"] == [0, old], record


@pytest.mark.slow
def test_cut_off_anywhere_while_a_person_rolls_back_a_device_serves_one_of_the_two(
    versions: tuple[str, str, str], state: State, tmp_path: Path, bundle: Bundles
) -> None:
    before, old, _ = versions
    seen = cuts("undo", state, tmp_path / "repository", bundle("0"))
    assert {tuple(record["serves"]) for record in seen} == {(0, old), (0, before)}


@pytest.mark.slow
def test_cut_off_anywhere_while_a_version_is_proved_it_goes_on_serving(
    versions: tuple[str, str, str], state: State, update: Update, tmp_path: Path, bundle: Bundles
) -> None:
    assert update() == versions[2]
    for record in cuts("prove", state, tmp_path / "repository", bundle("0")):
        assert record["serves"] == [0, versions[2]], record
        assert record["again"][0] == 0, record


def test_what_a_version_consists_of_is_on_the_disk_before_the_link_leads_to_it(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    synced: set[int] = set()
    at_the_switch: list[set[int]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def seen_replace(source: Path, target: Path) -> None:
        if Path(target).name == "current":
            at_the_switch.append(set(synced))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    publisher.add(bundle("1"))
    folder = state.path(update() or "")
    needed = {path.stat().st_ino for path in (folder, *folder.rglob("*"), state.versions, state.own / "ledger.json")}
    assert needed <= at_the_switch[0]
