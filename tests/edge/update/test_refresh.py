"""A refresh months later: what the keys of the machine allow is renewed, and what they do not is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.signature import PASSWORD
from kdlight_edge.update import fetch, publish
from kdlight_edge.update.publish import Publisher


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return ``later(days)``, which sets the publisher's clock ahead."""
    return lambda ahead: monkeypatch.setattr(publish, "days_from_now", lambda days: fetch.days_from_now(days + ahead))


def versions(publisher: Publisher) -> dict[str, int]:
    """Return the newest version of each role's word."""
    found = {"timestamp": json.loads((publisher.metadata / "timestamp.json").read_text())["signed"]["version"]}
    for file in publisher.metadata.glob("[0-9]*.json"):
        number, role, _ = file.name.split(".")
        found[role] = max(found.get(role, 0), int(number))
    return found


def refresh(tmp_path: Path) -> int:
    return main(["update", "refresh", "--repo", str(tmp_path / "repository"), "--repo-keys", str(tmp_path / "private")])


@pytest.mark.parametrize("here", [(), ("targets",), ("root", "targets")], ids=" ".join)
def test_roles_that_end_soon_are_renewed_where_their_keys_are_and_told_where_not(
    here: tuple[str, ...],
    publisher: Publisher,
    later: Callable[[float], None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    absent = [role for role in ("root", "targets") if role not in here]
    for role in absent:
        (tmp_path / f"private/{role}.key").unlink()
    end = f"{fetch.days_from_now(365):%Y-%m-%d}"
    later(340)  # 25 days before their end, and the offer is made fresh for 30
    assert refresh(tmp_path) == 0
    assert versions(publisher) == {
        "root": 1 + ("root" in here), "targets": 1 + ("targets" in here), "snapshot": 2, "timestamp": 2,
    }  # fmt: skip
    first, *told = capfd.readouterr().err.splitlines()
    assert first == f"devices believe the offer until {end if absent else f'{fetch.days_from_now(370):%Y-%m-%d}'}"
    assert told == [
        f"the word of {role} ends on {end} and was not renewed: {tmp_path / 'private'} has no {role}.key; "
        "refresh where it is, or every device refuses the offer from then on"
        for role in absent
    ]


def test_a_key_that_does_not_open_keeps_nothing_else_from_being_fresh(
    publisher: Publisher, later: Callable[[float], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "private/root.key").write_text("worn out")
    later(340)
    assert refresh(tmp_path) == 2
    assert f"root.key is no private key that opens with {PASSWORD}" in capfd.readouterr().err
    assert versions(publisher) == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}


def test_long_before_their_end_root_and_targets_stay_as_they_are_and_nothing_is_told_of_them(
    publisher: Publisher, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refresh(tmp_path) == 0
    assert versions(publisher) == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}
    assert len(capfd.readouterr().err.splitlines()) == 1
