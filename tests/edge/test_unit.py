"""The units of a service and of its updates, judged by systemd's own tools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kdlight_edge.unit import Service, unit_text

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: apt install systemd")

SERVICES = [Service(), Service("front-door")]


def written(folder: Path, service: Service) -> Path:
    """Write a unit as systemd would find it, with a program that is there."""
    folder.mkdir(exist_ok=True)
    file = folder / service.template
    file.write_text(unit_text(service, shutil.which("true") or "/bin/true"))
    return file.rename(folder / service.instance)


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.template)
def test_systemd_finds_nothing_to_say_about_a_unit(tmp_path: Path, service: Service) -> None:
    file = written(tmp_path / "units", service)
    done = subprocess.run([ANALYZE or "", "verify", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.template)
def test_a_units_exposure_is_at_most_two(tmp_path: Path, service: Service) -> None:
    file = written(tmp_path / "units", service)
    command = [ANALYZE or "", "security", "--offline=true", "--no-pager", "--threshold=20", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Overall exposure level" in done.stdout
    assert done.returncode == 0, done.stdout


def test_the_two_units_differ_only_in_their_names() -> None:
    body = [unit_text(service).splitlines()[2:] for service in SERVICES]
    of_several = [
        line.replace("the camera %i", "a camera").replace("kdlight-edge/%i.env", "kdlight-edge/kdlight-edge.env")
        for line in body[1]
    ]
    assert [line.replace("-%i", "") for line in of_several] == body[0]


UPDATES = [(service, kind) for service in SERVICES for kind in ("service", "timer", "path")]


def update_unit(folder: Path, service: Service, kind: str) -> Path:
    """Write the units of a service's updates as systemd would find them; return one."""
    folder.mkdir()
    for name, text in (
        (service.update_unit("service"), unit_text(service, "/bin/true", service.update_file("service").name)),
        (service.update_unit(kind), unit_text(service, "/bin/true", service.update_file(kind).name)),
    ):
        (folder / name).write_text(text)
    return folder / service.update_unit(kind)


@needs_systemd
@pytest.mark.parametrize(("service", "kind"), UPDATES, ids=str)
def test_systemd_finds_nothing_to_say_about_the_units_of_updates(tmp_path: Path, service: Service, kind: str) -> None:
    file = update_unit(tmp_path / "units", service, kind)
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}/units:"}
    done = subprocess.run(
        [ANALYZE or "", "verify", str(file)], capture_output=True, text=True, check=False, env=environ
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.template)
def test_the_exposure_of_updates_is_at_most_two(tmp_path: Path, service: Service) -> None:
    file = update_unit(tmp_path / "units", service, "service")
    command = [ANALYZE or "", "security", "--offline=true", "--no-pager", "--threshold=20", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Overall exposure level" in done.stdout
    assert done.returncode == 0, done.stdout


def test_a_service_and_its_updates_have_one_user_and_one_state() -> None:
    for service in SERVICES:
        texts = unit_text(service), unit_text(service, template=service.update_file("service").name)
        for key in ("User=", "StateDirectory="):
            lines = [[line for line in text.splitlines() if line.startswith(key)] for text in texts]
            assert lines[0] == lines[1]
            assert len(lines[0]) == 1
