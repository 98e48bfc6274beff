"""A service under a manager, updated while it works: it starts anew by itself, proves, rolls back, shadows."""

import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.manifest import Artifact, Thresholds
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State
from tests.edge.update.manager import Manager
from tests.waiting import until

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


@pytest.fixture
def service(bundle: Bundles, state: State, tmp_path: Path) -> Iterator[Manager]:
    folder = tmp_path / "service"
    folder.mkdir()
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--source", "scene:crack?size=64x64&fps=50", "--json"]
    command += ["--model", str(bundle("0")), "--state", str(state.folder)]
    with Manager(command, folder, watchdog=2.0, restart_seconds=0.05) as manager:
        yield manager


def answers(service: Manager) -> list[str]:
    """Return the versions of the bundles that answered, in order, each change once."""
    versions: list[str] = []
    for line in (service.folder / "out").read_text().splitlines():
        if line.endswith("}"):
            version = json.loads(line)["bundle"]["version"]
            versions += [version] if versions[-1:] != [version] else []
    return versions


def serving(service: Manager, version: str) -> Callable[[], bool]:
    """Return a question: does that version answer now?"""
    return lambda: (service.folder / "out").is_file() and answers(service)[-1:] == [version]


def test_a_service_starts_anew_with_an_update_and_proves_it(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    publisher.add(bundle("1"))
    version = update(probation=0.5)
    until(serving(service, "1"), "the update")
    assert service.codes == [0]
    until(lambda: state.ledger().good == (version,), "the proof")
    until(lambda: "has proved itself" in service.log, "word of it")  # told after it was written down


def test_a_version_that_falls_over_is_rolled_back_by_the_service_itself(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    publisher.add(bundle("1"))
    version = update()
    until(serving(service, "1"), "the update")
    with pytest.raises(KDLightError, match="is on probation until it has worked for 300 s"):
        update()
    service.kill()
    until(serving(service, "0"), "the roll-back")
    assert state.ledger().failed == (version,)
    assert "it fell over or hung" in service.log


def test_a_version_that_hangs_is_ended_by_the_watchdog_and_rolled_back(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    publisher.add(bundle("1"))
    update()
    until(serving(service, "1"), "the update")
    service.kill(signal.SIGSTOP)
    until(serving(service, "0"), "the roll-back")
    assert service.codes == [0, -signal.SIGKILL]


def test_a_person_rolls_back_a_running_service(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    publisher.add(bundle("1"))
    update()
    until(serving(service, "1"), "the update")
    assert main(["update", "rollback", "--state", str(state.folder)]) == 0
    until(serving(service, "0"), "the roll-back")


def test_a_candidate_that_decides_alike_in_the_shadow_is_taken(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update, capfd: pytest.CaptureFixture[str]
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    publisher.add(bundle("1"))
    assert update(shadow=10) is not None
    assert "10 of 10 decisions are the same" in capfd.readouterr().out
    until(serving(service, "1"), "the update")
    assert answers(service) == ["0", "1"]


def test_a_candidate_that_decides_otherwise_in_the_shadow_is_refused(
    service: Manager, publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    until(serving(service, "0"), "the bundle of the installation")
    artifacts = open_bundle(bundle("x")).manifest.artifacts
    bold: tuple[Artifact, ...] = tuple(dataclasses.replace(one, thresholds=Thresholds(0.1)) for one in artifacts)
    publisher.add(bundle("1", artifacts=bold))
    with pytest.raises(BundleError, match=r"in the shadow 0 of 10 decisions are the same.*abstained -> accepted crack"):
        update(shadow=10)
    assert state.current() is None
    assert not state.shadow_request.exists()


def test_a_shadow_needs_a_service(publisher: Publisher, bundle: Bundles, update: Update) -> None:
    publisher.add(bundle("1"))
    with pytest.raises(KDLightError, match="--shadow needs the service, which does not run"):
        update(shadow=10)


def test_a_second_service_with_the_same_state_says_so_and_answers(
    service: Manager, bundle: Bundles, state: State, capfd: pytest.CaptureFixture[str]
) -> None:
    until(serving(service, "0"), "the first service")
    arguments = ["infer", "--source", "scene:crack?size=64x64", "--frames", "2", "--model", str(bundle("0"))]
    assert main([*arguments, "--state", str(state.folder)]) == 0
    assert "give each a --state of its own" in capfd.readouterr().err
