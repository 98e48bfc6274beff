"""A publisher's new key, cut off or refused anywhere: no key is lost that devices know, and they follow afterwards."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.signature import make_key
from kdlight_edge.update.fetch import Repository
from kdlight_edge.update.publish import ROLES, Publisher
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]

CHANGES = ("fsync", "open", "replace", "unlink")
"""Functions of `os` by which a repository and its keys are changed."""


class Cut(BaseException):
    """A cut of power, which nothing catches."""


def rotated_until(number: int, publisher: Publisher, role: str, how: BaseException) -> bool:
    """Rotate with ``how`` in the place of a change of the disk; tell whether there was none of that number."""
    left = number

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise how
            return real(*given, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            publisher.rotate(role)
        except (Cut, KDLightError):
            return False
    return True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("how", [Cut(), OSError(28, "No space left on device")], ids=["power", "full"])
@pytest.mark.parametrize("then", ["rotate", "refresh"])
def test_a_rotation_that_ends_anywhere_can_be_gone_on_from_and_devices_follow(
    publisher: Publisher, bundle: Bundles, state: State, tmp_path: Path, role: str, how: BaseException, then: str
) -> None:
    version = publisher.add(bundle("1"))
    root = publisher.metadata / "1.root.json"
    state.prepare()
    for number in range(1, 100):
        ended = rotated_until(number, publisher, role, how)
        if then == "rotate":
            publisher.rotate(role)
        publisher.refresh()
        offer = Repository(str(tmp_path / "repository"), state, root).newest("tiny")
        assert offer.target.path.startswith(version)
        assert not list((tmp_path / "private").glob("*.next.*"))
        if ended:
            break
    assert number > 8  # changes of the disk, each of which was the last


@pytest.mark.parametrize("role", ["timestamp", "targets", "snapshot"])
def test_without_the_key_of_the_root_no_other_is_changed(
    publisher: Publisher, bundle: Bundles, state: State, tmp_path: Path, role: str
) -> None:
    keys, repository = tmp_path / "private", str(tmp_path / "repository")
    version = publisher.add(bundle("1"))
    state.prepare()
    (keys / "root.key").rename(tmp_path / "drawer")
    before = {file.name: file.read_bytes() for file in keys.iterdir()}
    with pytest.raises(UsageError, match=r"root\.key cannot be read"):
        publisher.rotate(role)
    assert {file.name: file.read_bytes() for file in keys.iterdir()} == before
    (tmp_path / "drawer").rename(keys / "root.key")
    publisher.rotate(role)
    offer = Repository(repository, state, publisher.metadata / "1.root.json").newest("tiny")
    assert offer.target.path.startswith(version)


@pytest.mark.parametrize("role", ["timestamp", "targets", "snapshot"])
def test_a_key_that_is_lost_is_replaced(
    publisher: Publisher, bundle: Bundles, state: State, tmp_path: Path, role: str
) -> None:
    (tmp_path / f"private/{role}.key").unlink()
    publisher.rotate(role)
    version = publisher.add(bundle("1"))
    state.prepare()
    offer = Repository(str(tmp_path / "repository"), state, publisher.metadata / "1.root.json").newest("tiny")
    assert offer.target.path.startswith(version)


@pytest.mark.parametrize("role", ROLES)
def test_a_key_of_another_repository_signs_nothing(
    publisher: Publisher, bundle: Bundles, state: State, tmp_path: Path, role: str
) -> None:
    version, root = publisher.add(bundle("1")), publisher.metadata / "1.root.json"
    make_key(role, tmp_path / "other")
    own = (tmp_path / f"private/{role}.key").replace(tmp_path / "drawer")
    (tmp_path / f"other/{role}.key").rename(tmp_path / f"private/{role}.key")
    act = (lambda: publisher.rotate(role)) if role == "root" else (lambda: publisher.add(bundle("2")))
    with pytest.raises(UsageError, match=rf"{role}\.key is not the key of {role} that .*root\.json names"):
        act()
    state.prepare()
    if role in {"root", "targets"}:  # before anything that speaks of the offer
        offer = Repository(str(tmp_path / "repository"), state, root).newest("tiny")
        assert offer.target.path.startswith(version)
    own.replace(tmp_path / f"private/{role}.key")
    act()
    assert Repository(str(tmp_path / "repository"), state, root).newest("tiny").name == "tiny"


def test_a_full_disk_leaves_no_half_of_a_key_and_no_half_of_a_repository(
    disk_of: Callable[[int], Path], tmp_path: Path
) -> None:
    disk = disk_of(128)
    filled = disk / "filled"

    def fill(left: int) -> None:
        filled.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left))

    fill(0)
    with pytest.raises(KDLightError, match="No space left on device"):
        make_key("field", disk)
    filled.unlink()
    assert list(disk.iterdir()) == []
    make_key("field", disk)
    for left in range(4096, 40_960, 4096):
        made = Publisher(disk / "repository", tmp_path / "private")
        fill(left)
        try:
            made.create()
        except KDLightError:
            filled.unlink()
            made.create()
        filled.unlink(missing_ok=True)
        assert made.refresh()
        with pytest.raises(UsageError, match="is a repository already"):
            made.create()
        shutil.rmtree(disk / "repository")
