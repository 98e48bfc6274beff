"""What a device refuses, each by the very command: one line on stderr, its exit code, and nothing changed."""

import dataclasses
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.manifest import Budget
from kdlight_edge.signature import make_key
from kdlight_edge.update import fetch
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.serving import open_serving
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]


@dataclasses.dataclass
class Desk:
    """Where a bundle for the device is prepared, and made wrong."""

    publisher: Publisher
    bundle: Bundles
    keys: Path
    folder: Path
    state: State
    patch: pytest.MonkeyPatch

    def signed(self, version: str, **changes: object) -> Path:
        """Return a signed file."""
        file = self.folder / f"{version}.kdl.tar"
        made = self.bundle(version, **changes)
        assert main(["bundle", "sign", str(made), "--key", str(self.keys / "field.key"), "--out", str(file)]) == 0
        return file

    def update(self, location: Path, *more: str) -> int:
        """Run the command on a machine without a budget."""
        root = str(self.publisher.metadata / "1.root.json")
        command = ["update", "--from", str(location), "--root", root, "--keys", str(self.keys), "--board", "other"]
        return main([*command, "--state", str(self.state.folder), *more])


@pytest.fixture
def desk(
    publisher: Publisher, bundle: Bundles, keys: Path, tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    return Desk(publisher, bundle, keys, tmp_path, state, monkeypatch)


def wrong_key(desk: Desk) -> int:
    make_key("other", desk.folder / "others")
    file = desk.signed("2")
    (desk.keys / "field.pub").unlink()
    (desk.folder / "others/other.pub").rename(desk.keys / "other.pub")
    return desk.update(file)


def edited_signature(desk: Desk) -> int:
    file = desk.signed("2")
    content = file.read_bytes()
    at = content.index(b'"sig"') + 12
    file.write_bytes(content[:at] + (b"A" if content[at : at + 1] != b"A" else b"B") + content[at + 1 :])
    return desk.update(file)


def half_copied(desk: Desk) -> int:
    file = desk.signed("2")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    return desk.update(file)


def expired(desk: Desk) -> int:
    Publisher(desk.folder / "repository", desk.folder / "private", days=1e-9).add(desk.bundle("2"))
    return desk.update(desk.folder / "repository")


def another_publisher(desk: Desk) -> int:
    foreign = Publisher(desk.folder / "foreign", desk.folder / "foreign-keys")
    foreign.create()
    foreign.add(desk.bundle("2"))
    return desk.update(desk.folder / "foreign")


def another_board(desk: Desk) -> int:
    return desk.update(desk.signed("2", budgets={"pi-5": Budget(5.0, 10**7)}))


def downgrade(desk: Desk) -> int:
    assert desk.update(desk.signed("2")) == 0
    return desk.update(desk.signed("1"))


def clock(desk: Desk) -> int:
    desk.publisher.add(desk.bundle("2"))
    desk.patch.setattr(fetch, "now", lambda: "1970-01-01T00:03:20+00:00")
    return desk.update(desk.folder / "repository")


def wrong_answers(desk: Desk) -> int:
    golden = open_bundle(desk.bundle("0")).manifest.golden
    wrong = {file: tuple(tuple(one + 1 for one in row) for row in rows) for file, rows in golden.logits.items()}
    return desk.update(desk.signed("2", golden=dataclasses.replace(golden, logits=wrong)))


def too_slow(desk: Desk) -> int:
    return desk.update(desk.signed("2", budgets={"other": Budget(1e-6, 10**9)}))


def no_room(desk: Desk) -> int:
    desk.patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    return desk.update(desk.signed("2"))


def nothing_there(desk: Desk) -> int:
    return desk.update(desk.folder / "unplugged")


def shadow_without_a_service(desk: Desk) -> int:
    return desk.update(desk.signed("2"), "--shadow", "5")


CASES: dict[Callable[[Desk], int], tuple[int, str]] = {
    wrong_key: (5, r"the bundle is signed by a key that is not trusted here; trusted are other; refused"),
    edited_signature: (5, r".*the signature does not belong to this content.*"),
    half_copied: (5, r".*copy it again"),
    expired: (5, r"the metadata of .* has expired .*; its publisher runs kdlight-edge update refresh"),
    another_publisher: (5, r".*/foreign is not signed by the keys that are trusted here \(.*\); refused"),
    another_board: (5, r"tiny 2 was made for pi-5, and this is other; refused: export it with --target other"),
    downgrade: (5, r"tiny 1 is not newer than 2, which serves; --allow-downgrade takes it"),
    clock: (5, r"the clock says 1970-01-01T00:03, .*; set the clock.*"),
    wrong_answers: (4, r"refused: onnxruntime answers the golden pictures .*"),
    too_slow: (3, r"tiny 2 misses the budget of other: p50_ms is [0-9.]+, allowed 1e-06"),
    no_room: (1, r".* has room for 1,000 bytes, and [0-9,]+ are needed; make room there"),
    nothing_there: (6, r"there is nothing at .*/unplugged; give a file, a folder or https://\.\.\."),
    shadow_without_a_service: (1, r"--shadow needs the service, which does not run; start it, or leave --shadow out"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", " "))
def test_it_is_refused_in_one_line_with_its_exit_code_and_nothing_has_changed(
    case: Callable[[Desk], int], desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = CASES[case]
    assert case(desk) == code
    said = capfd.readouterr().err.splitlines()
    assert re.fullmatch(f"kdlight-edge: {line}", said[-1]), said[-1]
    assert len([one for one in said if one.startswith("kdlight-edge: ")]) == 1
    current = desk.state.current()
    assert (current or "").startswith("tiny-2-") == (case is downgrade)
    assert desk.state.whole() == ({current} if current else set())
    assert not desk.state.incoming.exists()
    ledger = json.loads((desk.state.own / "ledger.json").read_text())
    assert ledger["last"]["what"] == "refused", "update status tells of it"


def test_a_disk_that_is_read_only_is_told_as_that_and_the_device_serves_on(
    disk_of: Callable[[int], Path], bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    disk = disk_of(1024)
    (disk / "state").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for state in (disk / "state", disk / "none"):
        assert main(["update", "rollback", "--state", str(state)]) == 1
        assert f"{state} lies on a disk that is read-only" in capfd.readouterr().err
    told: list[str] = []
    classifier, version = open_serving(State(disk / "state"), str(bundle("1")), open_classifier, told.append)
    with classifier:
        assert version is None
    assert "read-only" in told[0]
