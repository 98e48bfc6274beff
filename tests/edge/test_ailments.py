"""What ails a board: trees written down as a board would have them, and real processes and disks here."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_devices.heat import Throttling
from kdlight_devices.jetson import ORIN_NANO
from kdlight_devices.raspberry_pi import PI_5
from kdlight_devices.telemetry import Telemetry, look
from kdlight_devices.workstation import X86
from kdlight_edge import ailments
from kdlight_edge.ailments import Ailment, find
from kdlight_edge.cli import main
from kdlight_edge.unit import Service


@pytest.fixture
def well(tmp_path: Path) -> Telemetry:
    return look(tmp_path / "nothing")


def told(root: Path, seen: Telemetry) -> list[str]:
    return [ailment.what for ailment in find(root, PI_5, seen)]


def test_a_board_that_is_well_has_no_ailments(tmp_path: Path, well: Telemetry) -> None:
    assert told(tmp_path, well) == []


def holder(root: Path, number: int, name: str, command: str = "x") -> None:
    process = root / f"proc/{number}"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text(f"{name}\n")
    (process / "cmdline").write_text(command)
    (process / "fd/7").symlink_to("/dev/video0")
    (process / "fd/8").symlink_to("/dev/null")


def test_the_process_that_has_the_camera_is_named_with_what_ends_it(tmp_path: Path, well: Telemetry) -> None:
    holder(tmp_path, 812, "motion")
    holder(tmp_path, 99, "kdlight-edge", "/opt/kdlight-edge/bin/python\0/opt/kdlight-edge/bin/kdlight-edge\0infer")
    ours, other = find(tmp_path, PI_5, well)
    assert ours == Ailment(
        "/dev/video0 is taken by process 99 (kdlight-edge)", "sudo systemctl stop kdlight-edge (it is the service's)"
    )
    assert other == Ailment("/dev/video0 is taken by process 812 (motion)", "end it: sudo kill 812")


def test_the_open_files_of_a_real_process_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "held"
    program = f"f = open({str(file)!r}, 'w'); print('open', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    assert str(file) in set(ailments._open_files(Path(f"/proc/{process.pid}")))
    process.communicate("\n")


@pytest.mark.parametrize(
    ("throttling", "what"),
    [
        (Throttling(False, (), ("under-voltage",)), "too little voltage"),  # noqa: FBT003 - now
        (Throttling(False, (), ("over-current",)), "too much current"),  # noqa: FBT003
        (Throttling(True, ("throttled",)), "slowed down: throttled"),  # noqa: FBT003
    ],
)
def test_a_weak_supply_and_heat_are_told(tmp_path: Path, well: Telemetry, throttling: Throttling, what: str) -> None:
    (found,) = find(tmp_path, PI_5, dataclasses.replace(well, throttling=throttling))
    assert what in found.what
    assert found.mend


def test_a_wrong_power_mode_and_governor_are_told_on_boards_and_not_on_computers(
    tmp_path: Path, well: Telemetry
) -> None:
    seen = dataclasses.replace(well, governor="powersave", clock_limit_hz=729_600_000, clock_max_hz=1_510_400_000)
    found = list(find(tmp_path, ORIN_NANO, seen))
    assert "powersave" in found[0].what
    assert found[1].what == "the clock is held to 730 of 1,510 MHz by the power mode"
    assert found[1].mend.startswith("sudo nvpmodel -m 0")
    assert "config.txt" in list(find(tmp_path, PI_5, seen))[1].mend
    assert list(find(tmp_path, X86, seen)) == []


def test_a_clock_in_1970_and_one_that_the_network_never_set_are_told(
    tmp_path: Path, well: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert told(tmp_path, well) == ["the clock was not set by the network since the start"]
    (tmp_path / "run/systemd/timesync/synchronized").write_text("")
    assert told(tmp_path, well) == []
    monkeypatch.setattr("kdlight_edge.ailments.time.time", lambda: 86400.0)
    assert told(tmp_path, well)[0].startswith("the clock says 1970-01-02")


def test_a_disk_that_is_nearly_full_is_told_once(
    tmp_path: Path, well: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("var/lib", "opt"):
        (tmp_path / place).mkdir(parents=True)
    usage = shutil.disk_usage(tmp_path)._replace(free=12_000_000)
    monkeypatch.setattr("kdlight_edge.ailments.shutil.disk_usage", lambda _: usage)
    assert told(tmp_path, well) == ["the disk is nearly full: 12 MB free at /var/lib"]


@pytest.fixture
def served(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Path:
    root = tmp_path / "system"
    root.mkdir()
    words = ["service", "install", "--root", str(root), "--model", str(tiny_bundle()), "--source", "scene:crack"]
    assert main(words) == 0
    return root


def test_a_service_as_it_was_installed_is_well(served: Path, well: Telemetry) -> None:
    assert told(served, well) == []


def test_a_unit_edited_by_hand_is_told(served: Path, well: Telemetry) -> None:
    file = Service(None, served).unit_file
    file.write_text(file.read_text().replace("WatchdogSec=30", "WatchdogSec=0"))
    assert told(served, well) == [f"{file} was edited by hand, and updates do not reach it"]


def test_a_user_who_may_not_read_the_settings_is_told_the_rest(
    served: Path, well: Telemetry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def closed(file: Path) -> dict[str, str]:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("kdlight_edge.unit.read_settings", closed)
    Service(None, served).unit_file.unlink()
    assert told(served, well) == ["kdlight-edge.service has settings and no unit"]
    assert main(["service", "install", "--root", str(served), "--dry-run"]) == 1
    assert "kdlight-edge.env may be read by root only" in capfd.readouterr().err
    shutil.rmtree(served / "opt/kdlight-edge/models")
    assert told(served, well) == [], "the settings file of a package without a service says nothing"


def test_a_missing_unit_and_a_missing_bundle_are_told(served: Path, well: Telemetry) -> None:
    Service(None, served).unit_file.unlink()
    shutil.rmtree(served / "opt/kdlight-edge/models/tiny.kdl")
    assert told(served, well) == [
        "kdlight-edge.service has no bundle at /opt/kdlight-edge/models/tiny.kdl",
        "kdlight-edge.service has settings and no unit",
    ]


def test_an_engine_that_is_not_built_is_told_until_there_is_one(
    served: Path, well: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.ailments._wants_an_engine", lambda _: True)
    assert "is not built on this board yet" in told(served, well)[0]
    built = served / "var/lib/kdlight-edge/cache/engines/0123"
    built.mkdir(parents=True)
    (built / "student.engine").write_text("")
    assert told(served, well) == []


def test_a_service_that_is_not_active_is_told(served: Path, well: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlight_edge.ailments._state", lambda _instance, _root: "failed")
    (found,) = find(served, PI_5, well)
    assert found.what == "kdlight-edge.service is failed"
    assert "sudo systemctl enable --now kdlight-edge.service" in found.mend


def test_this_machine_can_be_asked() -> None:
    assert all(ailment.mend for ailment in find(Path("/"), X86, look()))
