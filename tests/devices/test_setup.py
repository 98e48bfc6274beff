"""The set-up scripts of the boards, as far as they can be run without one: their steps, their refusals, their shell."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "devices/setup"
SCRIPTS = ["raspberry-pi.sh", "jetson.sh"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")


def run(script: str, *arguments: str, tools: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run one; ``tools`` is a folder that comes first on its PATH."""
    command = [str(SETUP / script), *arguments]
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"} if tools else None
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_shows_the_steps_in_their_order(script: str) -> None:
    done = run(script, "--dry-run", "--model", "a model.kdl", "--source", "/dev/video0", "--name", "yard")
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    asked = "install --model a model.kdl --source /dev/video0 --name yard"
    assert "+ /opt/kdlight-edge/bin/pip install --quiet --upgrade kdlight-edge[runtime,mqtt,update]" in steps
    assert f"+ /opt/kdlight-edge/bin/kdlight-edge service {asked}" in steps
    assert steps.index(
        "+ /opt/kdlight-edge/bin/pip install --quiet --upgrade kdlight-edge[runtime,mqtt,update]"
    ) < steps.index(f"+ /opt/kdlight-edge/bin/kdlight-edge service {asked}")


def test_a_jetsons_environment_sees_the_systems_tensorrt_and_its_unit_the_gpu() -> None:
    steps = run("jetson.sh", "--dry-run").stderr
    assert "--system-site-packages" in steps
    assert "+ tee /etc/systemd/system/kdlight-edge.service.d/10-jetson.conf" in steps
    assert "+ tee /etc/systemd/system/kdlight-edge@.service.d/10-jetson.conf" in steps


@pytest.mark.skipif(Path("/proc/device-tree/model").exists(), reason="this is a board")
@pytest.mark.parametrize("script", SCRIPTS)
def test_another_machine_is_refused_before_anything_is_done(script: str) -> None:
    done = run(script)
    assert done.returncode == 1
    assert "with a 64-bit system" in done.stderr
    assert "+ " not in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_that_is_too_old_is_refused_before_anything_is_done(script: str, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.8.10; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    done = run(script, "--dry-run", tools=tmp_path)
    assert done.returncode == 1
    assert "Python 3.8.10 is too old; kdlight-edge needs 3.10" in done.stderr
    assert "+ " not in done.stderr


def test_a_jetson_reaches_cuda_through_a_wheel_for_its_cuda_12() -> None:
    steps = run("jetson.sh", "--dry-run").stderr
    assert "+ /opt/kdlight-edge/bin/pip install --quiet cuda-bindings>=12.6,<13" in steps
    assert "cuda-bindings" not in run("raspberry-pi.sh", "--dry-run").stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_taken_away_is_shown_first(script: str) -> None:
    steps = run(script, "--dry-run", "--remove").stderr
    assert "+ systemctl daemon-reload" in steps
    assert "install" not in steps.replace("uninstall", "")
    assert " tee " not in steps


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_camera_gets_a_name_that_stays(script: str) -> None:
    steps = run(script, "--dry-run").stderr
    assert "+ tee /etc/udev/rules.d/70-kdlight-edge.rules" in steps
    assert "+ udevadm control --reload" in steps


@pytest.mark.parametrize("script", SCRIPTS)
def test_wheels_brought_along_need_no_network(script: str, tmp_path: Path) -> None:
    steps = run(script, "--dry-run", "--wheels", str(tmp_path)).stderr
    wanted = f"--upgrade --no-index --find-links {tmp_path} kdlight-edge[runtime,mqtt,update]"
    assert f"+ /opt/kdlight-edge/bin/pip install --quiet {wanted}" in steps
    done = run(script, "--dry-run", "--wheels", "/nowhere")
    assert (done.returncode, "there is no folder of wheels at /nowhere" in done.stderr) == (1, True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_flag_and_a_missing_wheel_are_refused(script: str) -> None:
    assert run(script, "--modle", "x").returncode == 2
    done = run(script, "--dry-run", "--wheel", "/nowhere/x.whl")
    assert done.returncode == 1
    assert "there is no wheel at /nowhere/x.whl" in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing: apt install shellcheck")
def test_shellcheck_finds_nothing() -> None:
    command = ["shellcheck", "--external-sources", *map(str, SETUP.glob("*.sh"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SETUP.parents[1])
    assert done.returncode == 0, done.stdout
