"""``kdlight-edge service``: what it writes into a system's files, and what it leaves as it is."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import BundleError, SourceError, UsageError
from kdlight_edge.unit import Service, edited_by_hand, find_program, read_settings, settings_text, unit_text


def install(root: Path, *more: str) -> int:
    return main(["service", "install", "--root", str(root), *more])


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


def test_install_writes_unit_settings_and_bundle_and_a_second_time_nothing(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_bundle()), "--source", "rtsp://u:pa$$@10.0.0.7/live", "--options", "--max-age 0.5"]
    assert install(root, *arguments) == 0
    first = files(root)
    service = Service(root=root)
    assert read_settings(service.settings_file) == {
        "KDLIGHT_MODEL": "/opt/kdlight-edge/models/tiny.kdl",
        "KDLIGHT_SOURCE": "rtsp://u:pa$$@10.0.0.7/live",
        "KDLIGHT_OPTIONS": "--max-age 0.5",
    }
    assert service.settings_file.stat().st_mode & 0o777 == 0o600
    assert "opt/kdlight-edge/models/tiny.kdl/model.onnx" in first
    assert "write " in capfd.readouterr().err
    assert install(root, *arguments) == 0
    assert files(root) == first
    assert "write " not in capfd.readouterr().err


def test_a_service_of_another_name_has_its_own_settings_and_the_shared_unit(
    root: Path, tiny_bundle: Callable[..., Path]
) -> None:
    for name in ("front-door", "yard"):
        assert install(root, "--name", name, "--model", str(tiny_bundle()), "--source", "scene:crack") == 0
    assert {"etc/kdlight-edge/front-door.env", "etc/kdlight-edge/yard.env"} <= set(files(root))
    assert Service("yard", root).unit_file == Service("front-door", root).unit_file
    assert main(["service", "uninstall", "--root", str(root), "--name", "yard"]) == 0
    assert "etc/systemd/system/kdlight-edge@.service" in files(root)
    assert "opt/kdlight-edge/models/tiny.kdl/manifest.json" in files(root)
    assert main(["service", "uninstall", "--root", str(root), "--name", "front-door"]) == 0
    assert files(root) == {}
    assert not list(root.rglob("*kdlight-edge@*"))
    assert not (root / "etc/kdlight-edge").exists()


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is missing: apt install systemd")
def test_a_service_in_another_system_is_enabled_there(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    wanted = root / "etc/systemd/system/multi-user.target.wants/kdlight-edge.service"
    assert install(root, "--model", str(tiny_bundle()), "--source", "scene:crack") == 0
    assert wanted.is_symlink()
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert not wanted.is_symlink()


def test_a_dry_run_tells_every_step_and_writes_nothing(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert install(root, "--model", str(tiny_bundle()), "--source", "scene:crack", "--dry-run") == 0
    told = capfd.readouterr().err
    assert "would copy " in told
    assert f"would write {root}/etc/systemd/system/kdlight-edge.service" in told
    assert f"would write {root}/etc/kdlight-edge/kdlight-edge.env" in told
    assert files(root) == {}


@pytest.mark.parametrize("waits", [True, False])
def test_what_waits_in_memory_is_kept_until_a_purge(
    root: Path,
    tiny_bundle: Callable[..., Path],
    waits: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    memory = root / "run/kdlight-edge"
    memory.mkdir(parents=True)
    if waits:
        (memory / "mqtt-wall.sqlite.tail").write_text("=name boot 0\n")
    install(root, "--model", str(tiny_bundle()), "--source", "scene:crack")
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert memory.exists() == waits
    assert main(["service", "uninstall", "--root", str(root), "--purge"]) == 0
    assert not memory.exists()


def test_a_jetsons_gpu_is_opened_to_the_service_and_its_updates(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    tree = root / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0")
    assert install(root, "--model", str(tiny_bundle()), "--source", "scene:crack") == 0
    written = sorted(path for path in files(root) if path.endswith("10-jetson.conf"))
    assert written == [
        "etc/systemd/system/kdlight-edge-update.service.d/10-jetson.conf",
        "etc/systemd/system/kdlight-edge.service.d/10-jetson.conf",
    ]
    assert "DeviceAllow=char-nvgpu rw" in (root / written[1]).read_text()
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert not list(root.glob("etc/systemd/system/*"))


def test_a_unit_that_was_edited_by_hand_is_kept_and_told(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_bundle()), "--source", "scene:crack"]
    install(root, *arguments)
    unit = Service(root=root).unit_file
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=300"))
    capfd.readouterr()
    assert install(root, *arguments) == 0
    assert "was edited by hand and is kept" in capfd.readouterr().err
    assert "WatchdogSec=300" in unit.read_text()
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert "was edited by hand and is kept" in capfd.readouterr().err
    assert unit.is_file()


def test_a_unit_of_an_older_version_is_replaced(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    arguments = ["--model", str(tiny_bundle()), "--source", "scene:crack"]
    install(root, *arguments)
    unit = Service(root=root).unit_file
    unit.write_text(unit_text(Service(root=root), "/opt/older/bin/kdlight-edge"))
    assert not edited_by_hand(unit.read_text())
    install(root, *arguments)
    assert unit.read_text() == unit_text(Service(root=root))


def test_updates_are_installed_and_taken_away_with_the_service(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_bundle()), "--source", "scene:crack", "--update-from", "https://site/models"]
    assert install(root, *arguments) == 0
    first = files(root)
    units = {f"etc/systemd/system/kdlight-edge-update.{kind}" for kind in ("service", "timer", "path")}
    assert units <= set(first)
    assert read_settings(Service(root=root).settings_file)["KDLIGHT_UPDATE_FROM"] == "https://site/models"
    capfd.readouterr()
    assert install(root) == 0
    assert files(root) == first
    assert "write " not in capfd.readouterr().err
    assert main(["service", "uninstall", "--root", str(root)]) == 0
    assert files(root) == {}


def test_a_bundle_that_is_installed_by_hand_serves_in_the_place_of_an_update(
    root: Path, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    arguments = ["--model", str(tiny_bundle()), "--source", "scene:crack"]
    install(root, *arguments)
    link = root / "var/lib/kdlight-edge/current"
    link.parent.mkdir(parents=True)
    link.symlink_to("versions/tiny-2-0")
    install(root, *arguments)
    assert link.is_symlink()
    install(root, "--model", str(tiny_bundle(size=48, folder=tmp_path / "newer")))
    assert not link.is_symlink()


def test_settings_that_a_person_commented_are_left_as_they_are(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    install(root, "--model", str(tiny_bundle()), "--source", "scene:crack")
    file = Service(root=root).settings_file
    mine = file.read_text() + "# the camera above the gate\nTZ=Asia/Kolkata\n"
    file.write_text(mine)
    install(root, "--model", str(tiny_bundle()))
    assert file.read_text() == mine
    install(root, "--source", "scene:crack?fps=5")
    assert file.read_text() == mine.replace("scene:crack", "scene:crack?fps=5"), "one line is another, all others stay"


def test_the_comments_of_the_packages_own_settings_stay(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    file = Service(root=root).settings_file
    file.parent.mkdir(parents=True)
    packaged = (Path(__file__).parents[2] / "devices/debian/kdlight-edge.env").read_text()
    file.write_text(f"{packaged}KDLIGHT_OPTIONS='--max-age 1'\nKDLIGHT_OPTIONS='--max-age 2'\n")
    install(root, "--model", str(tiny_bundle()), "--source", "scene:crack")
    lines = file.read_text().splitlines()
    assert lines[: len(packaged.splitlines())] == packaged.splitlines()
    assert read_settings(file)["KDLIGHT_OPTIONS"] == "--max-age 2"
    assert sum(line.startswith("KDLIGHT_OPTIONS=") for line in lines) <= 2
    install(root, "--options", "--max-age 3")
    assert [line for line in file.read_text().splitlines() if line.startswith("KDLIGHT_OPTIONS=")] == [
        'KDLIGHT_OPTIONS="--max-age 3"'
    ]


def test_a_newer_bundle_of_the_same_name_replaces_the_older_one_whole(
    root: Path, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    install(root, "--model", str(tiny_bundle()), "--source", "scene:crack")
    newer = tiny_bundle(size=48, folder=tmp_path / "newer")
    install(root, "--model", str(newer))
    models = root / "opt/kdlight-edge/models"
    assert files(models / "tiny.kdl") == files(newer)
    assert [path.name for path in models.iterdir()] == ["tiny.kdl"]


def test_a_damaged_bundle_is_refused_before_anything_is_written(root: Path, tiny_bundle: Callable[..., Path]) -> None:
    model = tiny_bundle()
    (model / "model.onnx").write_bytes(b"half a co")
    assert install(root, "--model", str(model), "--source", "scene:crack") == BundleError.exit_code
    assert files(root) == {}


def test_a_source_that_is_nowhere_ends_with_the_code_that_help_tells(
    tiny_bundle: Callable[..., Path], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(root, "--model", str(tiny_bundle()), "--source", "/nowhere") == SourceError.exit_code == 6
    with pytest.raises(SystemExit):
        main(["service", "--help"])
    assert "6 no such source" in " ".join(capsys.readouterr().out.split())


def test_the_name_that_the_package_gives_a_camera_is_served_while_nothing_is_plugged_in(
    tiny_bundle: Callable[..., Path], root: Path
) -> None:
    assert install(root, "--model", str(tiny_bundle()), "--source", "/dev/kdlight-camera") == 0
    assert read_settings(Service(root=root).settings_file)["KDLIGHT_SOURCE"] == "/dev/kdlight-camera"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "scene:crack"], "--model is missing"),
        (["--name", "Front Door"], "--name 'Front Door' cannot name a service"),
        (["--name", "kdlight-edge"], "--name 'kdlight-edge' cannot name a service"),
        (["--model", "MODEL", "--source", "."], ". has an end; a service needs a camera"),
        (["--model", "MODEL", "--source", "dicom:."], "dicom:. has an end; a service needs a camera"),
        (["--model", "MODEL", "--source", "ftp://x"], "no source looks like 'ftp://x'"),
        (["--model", "MODEL", "--source", "scene:crack", "--options", "a\nb"], "holds characters that a settings file"),
    ],
)
def test_what_cannot_be_a_service_is_a_usage_error(
    root: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [str(tiny_bundle()) if word == "MODEL" else word for word in arguments]
    assert install(root, *given) == UsageError.exit_code
    assert message in capfd.readouterr().err


def test_an_environment_where_a_service_may_not_read_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kdlight-edge").write_text("")
    monkeypatch.setattr("kdlight_edge.unit.UNREADABLE", (f"{tmp_path}/",))
    with pytest.raises(UsageError, match="python3 -m venv /opt/kdlight-edge"):
        find_program(Service(), str(tmp_path / "python"))


def test_the_program_of_another_system_is_at_its_usual_place(root: Path) -> None:
    assert find_program(Service(root=root), sys.executable) == "/opt/kdlight-edge/bin/kdlight-edge"


@pytest.mark.parametrize("value", ["plain", "two words", 'say "so"', "a\\b", "$HOME `id`", "#no comment", ""])
def test_a_setting_comes_back_as_it_was_given(tmp_path: Path, value: str) -> None:
    file = tmp_path / "x.env"
    file.write_text(settings_text({"KDLIGHT_SOURCE": value}))
    assert read_settings(file) == {"KDLIGHT_SOURCE": value}


@pytest.mark.parametrize("program", ["sudo", "su"])
def test_a_user_who_is_not_root_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], program: str
) -> None:
    if program == "sudo":
        (tmp_path / "sudo").write_text("#!/bin/sh\n")
        (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)  # the tests may run as root, or as anybody
    assert main(["service", "install", "--model", "x.kdl"]) == 1
    told = capfd.readouterr().err
    assert f"type: {program} " in told
    assert ("sudo is not here" in told) == (program == "su")


def test_where_systemd_does_not_run_that_is_said_with_the_way_out(capfd: pytest.CaptureFixture[str]) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    assert main(["service", "status"]) == 1
    assert re.search(r"systemd does not run this system; --root DIR", capfd.readouterr().err)
