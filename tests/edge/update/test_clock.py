"""A device whose clock is wrong, or was: no expiry is judged by it, and no update is refused for ever."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.errors import BundleError
from kdlight_edge.update import fetch
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State, now

Bundles = Callable[..., Path]
Update = Callable[..., str | None]

AHEAD = "2040-05-05T00:00:00+00:00"


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file whose being there says that the network has set the clock; it is not there."""
    monkeypatch.setattr(fetch, "SYNCHRONIZED", tmp_path / "synchronized")
    return tmp_path / "synchronized"


@pytest.fixture
def ahead(publisher: Publisher, bundle: Bundles, update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock have been ahead at an update to tiny 1, and be right again; tiny 2 is offered."""
    publisher.add(bundle("1"))
    with monkeypatch.context() as then:
        then.setattr(fetch, "now", lambda: AHEAD)
        update()
    publisher.add(bundle("2"))


def test_a_clock_in_1970_is_told_to_be_set(
    publisher: Publisher, bundle: Bundles, update: Update, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.add(bundle("1"))
    network.touch()
    monkeypatch.setattr(fetch, "now", lambda: "1970-01-01T00:03:20+00:00")
    with pytest.raises(BundleError, match=r"the clock says 1970-01-01T00:03, .*; set the clock .*, then try again$"):
        update(clock_is_right=True)


@pytest.mark.usefixtures("ahead")
def test_a_clock_that_went_back_behind_the_last_update_is_told_to_be_set(update: Update, state: State) -> None:
    with pytest.raises(BundleError, match=r"it was 2040-05-05T00:00 before.* or say with --clock-is-right"):
        update()
    assert state.ledger().seen == AHEAD


@pytest.mark.usefixtures("ahead")
def test_a_clock_that_the_network_has_set_is_believed(update: Update, state: State, network: Path) -> None:
    network.touch()
    assert (update() or "").startswith("tiny-2-")
    assert state.ledger().seen <= now()
    network.unlink()
    update()  # it serves already; but nothing is in the way any more


@pytest.mark.usefixtures("ahead")
def test_a_clock_that_a_person_believes_is_believed(update: Update, state: State) -> None:
    assert (update(clock_is_right=True) or "").startswith("tiny-2-")
    assert state.ledger().seen <= now()
    update()


def test_what_is_older_than_seen_is_refused_whoever_says_that_the_clock_is_right(
    publisher: Publisher, bundle: Bundles, update: Update, network: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    publisher.add(bundle("1"))
    shutil.copytree(tmp_path / "repository", tmp_path / "old")
    publisher.add(bundle("2"))
    with monkeypatch.context() as then:
        then.setattr(fetch, "now", lambda: AHEAD)
        update()
    network.touch()
    with pytest.raises(BundleError, match="shows older metadata than was seen here before"):
        update(location=str(tmp_path / "old"), clock_is_right=True, downgrade=True)
