"""``kdlight-edge service`` on files that people wrote in their own way, and what an install that is refused leaves."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_devices.detect import detect
from kdlight_devices.telemetry import look
from kdlight_edge import ailments
from kdlight_edge.cli import main
from kdlight_edge.sinks.desk import UPDATE_FILE
from kdlight_edge.unit import Service, read_settings, unit_text
from kdlight_edge.update.state import State


def install(root: Path, *more: str) -> int:
    return main(["service", "install", "--root", str(root), *more])


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


def test_settings_in_another_encoding_are_read_and_their_bytes_stay(
    root: Path, tiny_bundle: Callable[..., Path]
) -> None:
    assert install(root, "--model", str(tiny_bundle()), "--source", "scene:crack") == 0
    file = Service(root=root).settings_file
    remark = "# für die Wand\n".encode("latin-1")
    file.write_bytes(remark + file.read_bytes())
    assert list(ailments.find(root, detect(root), look(root))) == []
    assert install(root, "--source", "rtsp://yard") == 0
    assert file.read_bytes().startswith(remark)
    assert read_settings(file)["KDLIGHT_SOURCE"] == "rtsp://yard"
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert files(root) == {}


def test_a_unit_in_another_encoding_was_edited_by_hand(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert install(root, "--model", str(tiny_bundle()), "--source", "scene:crack", "--update-from", "https://x") == 0
    service = Service(root=root)
    for unit in (service.unit_file, service.update_file("timer")):
        unit.write_bytes(unit.read_bytes() + b"# f\xfcr\n")
    before = files(root)
    capfd.readouterr()
    assert install(root) == 0
    assert capfd.readouterr().err.count("was edited by hand and is kept") == 2
    assert files(root) == before
    (told,) = ailments.find(root, detect(root), look(root))
    assert "was edited by hand" in told.what
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert {Path(name).name for name in files(root)} == {"kdlight-edge.service", "kdlight-edge-update.timer"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--options", "--max-age 1\n--csv x"], "KDLIGHT_OPTIONS .* holds characters that a settings file cannot"),
        (["--source", "."], r"\. has an end; a service needs a camera"),
        (["--source", ""], "--source is empty"),
        (["--update-from", ""], "--update-from is empty"),
        (["--model", ""], "--model is empty"),
    ],
    ids=["two lines", "a folder", "no source", "no place", "no bundle"],
)
def test_an_install_that_is_refused_changes_nothing(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert install(root, "--model", str(tiny_bundle(name="old")), "--source", "scene:crack") == 0
    state = root / "var/lib/kdlight-edge"
    (state / "versions/old-2-0").mkdir(parents=True)
    (state / "current").symlink_to("versions/old-2-0")
    before = files(root)
    assert install(root, "--model", str(tiny_bundle(name="new")), *words) == 2
    assert re.search(told, capfd.readouterr().err)
    assert files(root) == before
    assert (state / "current").is_symlink()


@pytest.mark.parametrize("service", [Service(), Service("yard")], ids=lambda service: service.template)
def test_what_asked_for_an_update_is_gone_before_anything_can_refuse_it(tmp_path: Path, service: Service) -> None:
    lines = unit_text(service, template=service.update_file("service").name).replace("%i", "yard").splitlines()
    (first,) = [line.removeprefix("ExecStartPre=-") for line in lines if line.startswith("ExecStartPre=")]
    path = unit_text(service, template=service.update_file("path").name).replace("%i", "yard")
    (awaited,) = re.findall("^PathExists=(.*)$", path, re.MULTILINE)
    state = State(tmp_path / "state")
    state.prepare()
    (state.folder / UPDATE_FILE).touch()
    assert state.asked.exists()
    assert awaited == f"{service.state}/{state.asked.relative_to(state.folder)}"
    subprocess.run(shlex.split(first.replace(service.state, str(state.folder))), check=True)
    assert not state.asked.exists()
    subprocess.run(shlex.split(first.replace(service.state, str(state.folder))), check=True)  # nobody asked: the timer
