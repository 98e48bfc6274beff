"""An update on a device: what it takes, and what it refuses with which line."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_devices.board import Budget as BoardBudget
from kdlight_devices.workstation import OTHER
from kdlight_edge import durable
from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import BudgetExceeded, BundleError, KDLightError, ParityError, UsageError
from kdlight_edge.manifest import Budget
from kdlight_edge.sinks.desk import UPDATE_FILE
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State
from tests.edge.update.steps import prove, serve, take

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


# What is taken


def test_a_signed_file_is_taken_and_serves(bundle: Bundles, keys: Path, state: State, tmp_path: Path) -> None:
    file = tmp_path / "stick.kdl.tar"
    main(["bundle", "sign", str(bundle("1")), "--key", str(keys / "field.key"), "--out", str(file)])
    command = ["update", "--from", str(file), "--keys", str(keys), "--state", str(state.folder), "--board", "other"]
    assert main(command) == 0
    assert (serve(state) or "").startswith("tiny-1-")
    assert open_bundle(state.folder).manifest.version == "1"


def test_an_inspection_by_tiles_answers_with_the_bundle_that_the_update_brought(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    wall = tmp_path / "wall.png"
    wall.write_bytes(cv2.imencode(".png", np.full((100, 100, 3), (0, 0, 220), np.uint8))[1].tobytes())
    run = ["infer", "--source", str(wall), "--state", str(state.folder), "--tiles", "64", "--json"]
    assert main(run) == 2
    assert "--model is missing" in capfd.readouterr().err
    run += ["--model", str(bundle("0"))]
    assert main(run) == 0
    assert json.loads(capfd.readouterr().out)["bundle"]["version"] == "0"
    take(publisher, bundle("1"), update)
    capfd.readouterr()
    assert main(run) == 0
    assert json.loads(capfd.readouterr().out)["bundle"]["version"] == "1"


def test_the_status_tells_what_serves_and_what_happened(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["update", "status", "--state", str(state.folder)]) == 0
    assert "serves: nothing yet" in capfd.readouterr().out
    version = take(publisher, bundle("1"), update)
    capfd.readouterr()
    assert main(["update", "status", "--state", str(state.folder), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["serves"], told["probation"]["version"], told["last"]["what"]) == (version, version, "applied")


def test_two_good_versions_are_kept_and_older_ones_go(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    taken = []
    for number in range(4):
        taken.append(take(publisher, bundle(str(number)), update))
        if number < 3:
            prove(state)
    assert state.whole() == set(taken[1:])  # two good ones, and the one on probation
    prove(state)
    assert state.whole() == set(taken[2:])


def test_a_message_may_ask_for_an_update_and_that_is_all_it_may(update: Update, state: State) -> None:
    state.prepare()
    (state.folder / UPDATE_FILE).touch()
    assert state.asked.exists()
    with pytest.raises(KDLightError):
        update(root=None)
    assert not state.asked.exists()


# What is refused


@pytest.mark.parametrize(("first", "second"), [("2", "1"), ("1.10", "1.9"), ("1", "1.0")])
def test_a_version_that_is_not_newer_needs_a_flag(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, first: str, second: str
) -> None:
    version = take(publisher, bundle(first), update)
    publisher.withdraw(version)
    publisher.add(bundle(second))
    with pytest.raises(BundleError, match=rf"tiny {second} is not newer than {first}.*--allow-downgrade takes it"):
        update()
    assert state.current() == version
    assert (update(downgrade=True) or "").startswith(f"tiny-{second}-")


def test_a_bundle_of_another_name_needs_a_flag(
    bundle: Bundles, publisher: Publisher, update: Update, keys: Path, tmp_path: Path
) -> None:
    take(publisher, bundle("1"), update)
    file = tmp_path / "other.tar"
    main(["bundle", "sign", str(bundle("2", name="other")), "--key", str(keys / "field.key"), "--out", str(file)])
    with pytest.raises(BundleError, match="holds other, and this device runs tiny; --bundle other takes it"):
        update(location=str(file))
    assert (update(location=str(file), name="other") or "").startswith("other-2-")


def test_a_bundle_for_another_board_is_refused(publisher: Publisher, bundle: Bundles, update: Update) -> None:
    publisher.add(bundle("1", budgets={"raspberry-pi-5": Budget(5.0, 10**7)}))
    with pytest.raises(BundleError, match="was made for raspberry-pi-5, and this is other; refused"):
        update()


def test_a_bundle_that_answers_the_golden_pictures_wrongly_is_refused(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    golden = open_bundle(bundle("0")).manifest.golden
    wrong = {file: tuple(tuple(one + 1 for one in row) for row in rows) for file, rows in golden.logits.items()}
    publisher.add(bundle("1", golden=dataclasses.replace(golden, logits=wrong)))
    with pytest.raises(ParityError, match="refused: onnxruntime answers the golden pictures"):
        update()
    assert state.current() is None
    assert state.whole() == set()


def test_a_bundle_above_the_boards_budget_is_refused(publisher: Publisher, bundle: Bundles, update: Update) -> None:
    publisher.add(bundle("1"))
    slow = dataclasses.replace(OTHER, budget=BoardBudget(100, 10**10, 1e9, 1e9, "a test", 1e9, 1e9, "", "", None, ""))
    with pytest.raises(BudgetExceeded, match=r"misses the budget of other: bytes is .*, allowed 100"):
        update(board=slow)
    roomy = dataclasses.replace(
        OTHER, budget=BoardBudget(10**9, 10**10, 1e9, 1e9, "a test", 1e9, 1e9, "", "", None, "")
    )
    assert update(board=roomy) is not None


@pytest.mark.parametrize("disturbed", [True, False])
def test_a_bundle_is_held_to_the_p99_where_nobody_else_took_the_processor(
    publisher: Publisher,
    bundle: Bundles,
    update: Update,
    monkeypatch: pytest.MonkeyPatch,
    disturbed: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    publisher.add(bundle("1"))
    monkeypatch.setattr("kdlight_edge.update.trial.DISTURBED", -1.0 if disturbed else 1e9)
    budget = BoardBudget(10**9, 10**10, 1e9, 1e9, "a test", 1e-6, 1e-6, "", "", None, "")
    board = dataclasses.replace(OTHER, budget=budget)
    if disturbed:
        assert update(board=board) is not None
        return
    with pytest.raises(BudgetExceeded, match=r"misses the budget of other: p99_ms is [0-9.]+, allowed 1e-06$"):
        update(board=board)


def test_without_room_nothing_is_begun(
    disk_of: Callable[[int], Path],
    publisher: Publisher,
    bundle: Bundles,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    publisher.add(bundle("1"))
    small_disk = disk_of(4096)
    root = tmp_path / "repository/metadata/1.root.json"
    command = ["update", "--from", str(tmp_path / "repository"), "--root", str(root), "--state", str(small_disk)]
    assert main(command) == 1
    assert "has room for" in capfd.readouterr().err
    assert State(small_disk).current() is None


def test_a_state_folder_that_cannot_be_written_to_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["update", "--from", "x", "--state", str(tmp_path / "file/state")]) == 1
    assert "cannot be written to" in capfd.readouterr().err


def test_two_updates_at_once_are_one_too_many(update: Update, state: State) -> None:
    state.prepare()
    with (
        durable.locked(state.own / "update.lock"),
        pytest.raises(KDLightError, match="another update is at work on"),
    ):
        update()


@pytest.mark.parametrize(
    ("missing", "arguments", "code"),
    [
        ("tuf", ["update", "--from", ".", "--state", "STATE"], 1),
        ("cryptography", ["bundle", "verify", "x.tar", "--keys", "."], 1),
        ("tuf", ["update", "status", "--state", "STATE"], 0),
    ],
)
def test_without_the_extra_what_needs_it_names_it_and_the_rest_works(
    missing: str, arguments: list[str], code: int, tmp_path: Path
) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from kdlight_edge.cli import main; sys.exit(main())"
    given = [str(tmp_path / "state") if word == "STATE" else word for word in arguments]
    done = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    told = f"kdlight-edge: {missing} is not installed; pip install 'kdlight-edge[update]' brings it\n"
    assert done.stderr == (told if code else "")


AS_OWNER = """
import os, sys
from pathlib import Path
from kdlight_edge import durable
from kdlight_edge.update.apply import as_owner
from kdlight_edge.update.state import State
from tests.edge.update.steps import prove, serve, take
state = as_owner(State(Path(sys.argv[1])))
state.prepare()
durable.write_text(state.asked, "")
state.change(lambda old: old, "refused", "tiny")
state.switch("tiny-1-0")
print(os.getresuid(), os.getresgid(), os.getgroups(), state.current())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_works_as_the_owner_of_the_state_so_that_the_service_can_change_what_it_wrote(state: State) -> None:
    state.prepare()
    inner = state.folder.parent / "private"  # as that of a service with a user of its own: only root may pass
    inner.mkdir(mode=0o700)
    link, state = state.folder, State(state.folder.rename(inner / "state"))
    link.symlink_to("private/state")
    for path in (state.folder, state.versions, state.own):
        os.chown(path, 61_234, 61_235)
    done = subprocess.run([sys.executable, "-c", AS_OWNER, str(link)], capture_output=True, text=True, check=False)
    assert done.stdout == "(61234, 61234, 61234) (61235, 61235, 61235) [] tiny-1-0\n", done.stderr
    assert {path.lstat().st_uid for path in (state.folder, *state.folder.rglob("*"))} == {61_234}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--from is missing"),
        (["--from", "x", "--shadow", "-1"], "--shadow -1"),
        (["--from", "x", "--agreement", "2"], "--agreement 2"),
        (["--from", "x", "--probation", "0"], "--probation 0"),
        (["--from", "x", "--board", "toaster"], "board 'toaster' is unknown"),
        (["--from", "x", "--board", "rpi"], "is a family; choose one of"),
    ],
)
def test_flags_that_cannot_be_are_refused(
    arguments: list[str], message: str, state: State, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["update", *arguments, "--state", str(state.folder)]) == UsageError.exit_code
    assert message in capfd.readouterr().err
