"""What a service manager is told, heard on a real socket: the messages, and those of a whole run."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.errors import UsageError
from kdlight_edge.notify import Notifier, open_notifier
from tests.edge.notified import LIMIT, Manager

SCENE = "scene:crack?size=64x64&fps=50"


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_message_reaches_the_manager_as_one_datagram(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "notify") if kind == "path" else f"@kdlight-test-{os.getpid()}"
    manager = Manager(path)
    notifier = open_notifier({"NOTIFY_SOCKET": path})
    assert notifier is not None
    notifier.send(READY=1, STATUS="two\nlines, 54 °C")
    assert manager.receive() == ["READY=1", "STATUS=two lines, 54 °C"]
    notifier.close()
    manager.close()


def test_without_a_manager_there_is_nobody_to_notify() -> None:
    assert open_notifier({}) is None


def test_an_address_that_is_no_socket_is_refused_with_its_value() -> None:
    with pytest.raises(UsageError, match="NOTIFY_SOCKET 'vsock:2:1234' is neither"):
        open_notifier({"NOTIFY_SOCKET": "vsock:2:1234"})


def test_a_manager_that_has_gone_is_no_error(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    manager.close()
    notifier.send(WATCHDOG=1)
    Path(manager.address).unlink()
    notifier.send(WATCHDOG=1)
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_interval_is_taken_only_when_it_is_ours(environ: dict[str, str], seconds: float | None) -> None:
    notifier = open_notifier({"NOTIFY_SOCKET": "@nobody", **environ})
    assert notifier is not None
    assert notifier.watchdog == seconds
    notifier.close()


# infer


def start(manager: Manager, model: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", SCENE, "--model", str(model), *more]
    environ = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ)


def test_infer_is_ready_then_alive_tells_its_state_and_that_it_stops(
    manager: Manager, tiny_bundle: Callable[..., Path]
) -> None:
    process = start(manager, tiny_bundle())
    loading = manager.receive()
    assert loading[0].startswith("STATUS=loading ")
    assert loading[1] == "EXTEND_TIMEOUT_USEC=600000000"
    assert manager.receive()[0] == "READY=1"
    assert "WATCHDOG=1" in manager.receive_until("WATCHDOG=1")
    assert "frames/s, age " in manager.receive_until("STATUS=")[-1]
    process.send_signal(signal.SIGTERM)
    assert "STOPPING=1" in manager.receive_until("STOPPING=1")
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said


def test_infer_with_wrong_golden_answers_is_never_ready(manager: Manager, tiny_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(tiny_bundle())
    golden = bundle.manifest.golden
    wrong = dataclasses.replace(golden, logits={"model.onnx": ((9.0, 9.0),) * len(golden.seeds)})
    content = bundle.file_of(bundle.manifest.artifacts[0]).read_bytes()
    write_bundle(bundle.path, dataclasses.replace(bundle.manifest, golden=wrong), {"model.onnx": content})
    process = start(manager, bundle.path)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 4
    ours = Notifier(manager.address)
    ours.send(END=1)
    ours.close()
    assert not any(line.startswith(("READY", "WATCHDOG")) for line in manager.receive_until("END"))


def test_a_camera_that_is_not_there_at_the_start_can_be_waited_for(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    manager = Manager(str(tmp_path / "notify2"))
    command = ["infer", "--source", "/dev/video-none", "--await-camera", "--model", str(tiny_bundle())]
    environ = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "kdlight_edge.cli", *command], stderr=subprocess.PIPE, text=True, env=environ
    )
    assert "READY=1" in manager.receive_until("READY=1")
    assert "WATCHDOG=1" in manager.receive_until("WATCHDOG=1")
    assert "STATUS=no camera; the engine answers the golden pictures" in manager.receive_until("STATUS=no camera")[-1]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LIMIT)
    assert "/dev/video-none lost: there is no camera at /dev/video-none" in said
    assert process.returncode == 0
    manager.close()
