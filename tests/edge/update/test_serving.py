"""What a service does with the versions of its bundle: which one it opens, and when it goes back."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge import durable
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import failed
from kdlight_edge.errors import BundleError, UsageError
from kdlight_edge.frame import Moment, Unreadable
from kdlight_edge.update import ledger
from kdlight_edge.update.apply import roll_back
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.serving import Tenure
from kdlight_edge.update.state import State
from tests.edge.fakes import prediction
from tests.edge.update.steps import prove, serve, take

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


def test_a_version_that_fell_over_on_probation_is_rolled_back_and_not_taken_again(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    first = take(publisher, bundle("1"), update)
    prove(state)
    second = take(publisher, bundle("2"), update)
    assert serve(state) == second
    assert serve(state) == first  # the first start did not end in order
    assert state.current() == first
    with pytest.raises(BundleError, match=f"{second} was rolled back here before; --again"):
        update()
    assert update(again=True) == second
    assert serve(state) == second


def test_a_first_update_that_fails_gives_way_to_the_bundle_of_the_installation(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    factory = bundle("0")
    version = take(publisher, bundle("1"), update)
    assert serve(state, factory) == version
    assert serve(state, factory) is None


def test_an_orderly_end_is_no_fault(publisher: Publisher, bundle: Bundles, update: Update, state: State) -> None:
    version = take(publisher, bundle("1"), update)
    for _ in range(5):
        assert serve(state) == version
        state.change(lambda old: ledger.ended(old, version))


def test_a_power_cut_on_probation_is_forgiven_twice(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = bundle("0")
    version = take(publisher, bundle("1"), update)
    seen = []
    for number in range(4):
        monkeypatch.setattr("kdlight_edge.update.serving.boot", lambda number=number: f"boot {number}")
        seen.append(serve(state, factory))
    assert seen == [version, version, version, None]


def test_a_version_that_rots_on_the_card_gives_way_to_the_one_before(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    factory = bundle("0")
    first = take(publisher, bundle("1"), update)
    prove(state)
    second = take(publisher, bundle("2"), update)
    prove(state)
    (state.path(second) / "model.onnx").write_bytes(b"rot")
    assert serve(state, factory) == first
    shutil.rmtree(state.path(first))
    assert serve(state, factory) is None
    assert state.current() is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "other", "good": ["x"]}', "", '{"schema": 3, "good": "x"}', "\0" * 64]
)
def test_a_damaged_ledger_does_not_keep_a_version_from_serving(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, text: str
) -> None:
    version = take(publisher, bundle("1"), update)
    (state.own / "ledger.json").write_text(text)
    assert serve(state) == version
    second = take(publisher, bundle("2"), update)
    assert state.ledger().good == (version,)  # what served is what is gone back to
    assert (serve(state), serve(state)) == (second, version)


def test_a_full_card_does_not_keep_a_version_from_serving(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    version = take(publisher, bundle("1"), update)

    def full(file: Path, text: str) -> None:
        del text
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(durable, "write_text", full)
    assert serve(state) == version
    assert "could not be written" in capfd.readouterr().out


@pytest.mark.parametrize("target", ["../elsewhere", "/etc", "versions/gone", "versions/a/b"])
def test_a_link_to_anything_but_a_version_is_not_followed(bundle: Bundles, state: State, target: str) -> None:
    state.prepare()
    state.link.symlink_to(target)
    assert serve(state, bundle("0")) is None


def test_a_person_can_roll_back(publisher: Publisher, bundle: Bundles, update: Update, state: State) -> None:
    first = take(publisher, bundle("1"), update)
    prove(state)
    second = take(publisher, bundle("2"), update)
    prove(state)
    assert main(["update", "rollback", "--state", str(state.folder)]) == 0
    assert serve(state) == first
    assert state.whole() == {first}
    assert second in state.ledger().failed
    roll_back(state, print)
    assert state.current() is None
    with pytest.raises(UsageError, match="there is none before it"):
        roll_back(state, print)


def test_a_version_that_only_fails_does_not_prove_itself(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    version = take(publisher, bundle("1"), update)
    torn = failed(Unreadable("torn", Moment.now(), "cam", 0))
    with open_classifier(state.path(version), threads=1) as classifier:
        tenure = Tenure(
            state, version, classifier, threading.Event(), opener=open_classifier, factory=None, tell=print
        )  # fmt: skip
        tenure._since -= 1e6  # at work for days
        for result, good in ((torn, ()), (prediction(0), (version,))):
            tenure.write(result, None)
            tenure._prove()
            assert state.ledger().good == good


def test_a_state_without_a_bundle_says_what_brings_one(state: State) -> None:
    with pytest.raises(UsageError, match="kdlight-edge update brings one"):
        serve(state)
