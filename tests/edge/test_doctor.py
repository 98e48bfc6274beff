"""The doctor works where nothing else does, and every complaint comes with the command that ends it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdlight_devices.heat import FIRMWARE_FILE
from kdlight_edge import checkup
from kdlight_edge.cli import main
from kdlight_edge.commands import doctor
from kdlight_edge.engines import ENGINES

ROOT = Path(__file__).parents[2]


def empty_environment(*paths: Path) -> dict[str, str]:
    """Return an environment in which only this project's own packages, and ``paths``, can be imported."""
    ours = [ROOT, ROOT / "devices", ROOT / "train", ROOT / "export"]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, [*paths, *ours]))}


def run_doctor(*paths: Path) -> tuple[int, dict[str, Any], str]:
    """Run ``doctor --json`` in an empty environment; the ``-S`` keeps site-packages out, also of its own children."""
    code = "import sys; sys.executable = sys.argv.pop(1); from kdlight_edge.cli import main; sys.exit(main())"
    script = paths[0] / "python" if paths else Path(sys.executable)
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code, str(script), "doctor", "--json"],
        env=empty_environment(*paths), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran.returncode, json.loads(ran.stdout or "{}"), ran.stderr


def test_this_machine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ready"]
    assert report["problems"] == []
    assert [engine["name"] for engine in report["engines"]] == list(ENGINES)
    engines = {engine["name"]: engine for engine in report["engines"]}
    gpu = engines.pop("tensorrt")
    assert gpu["runs"] != bool(gpu["reason"])
    assert all(engine["runs"] for engine in engines.values())
    assert report["disk"]["free_bytes"] > 0
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))
    works = {entry["name"]: entry["works"] for entry in report["packages"]}
    assert works["numpy"]
    assert works["cv2"]
    assert works["onnxruntime"]


def test_an_empty_environment_is_told_what_to_install() -> None:
    code, report, complaint = run_doctor()
    assert code == 1
    assert complaint == ""
    assert not report["ready"]
    assert report["problems"] == [
        {"what": "infer needs numpy, cv2, onnxruntime", "mend": "pip install 'kdlight-edge[runtime]'"}
    ]
    assert {entry["name"]: entry["mend"] for entry in report["packages"]}[
        "torch"
    ] == "pip install 'kdlight-edge[train]'"
    assert report["engines"][0]["reason"] == "needs numpy, cv2, onnxruntime"


def test_a_missing_jpeg_decoder_is_told_and_infer_works_without(tmp_path: Path) -> None:
    for name in ("numpy", "cv2", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    code, report, _ = run_doctor(tmp_path)
    assert code == 0
    assert report["ready"]
    mend = "pip install 'kdlight-edge[runtime]'"
    assert report["problems"] == [
        {"what": "damaged JPEGs are answered like whole ones without simplejpeg", "mend": mend}
    ]
    decoder = next(entry for entry in report["packages"] if entry["name"] == "simplejpeg")
    assert not decoder["installed"]
    assert decoder["mend"] == mend
    assert report["engines"][0]["runs"]


def test_a_package_that_is_there_and_does_not_import_is_told_with_its_reason(tmp_path: Path) -> None:
    for name in ("numpy", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    code, report, _ = run_doctor(tmp_path)
    assert code == 1
    (problem,) = report["problems"]
    assert problem["what"] == (
        "cv2 is installed and does not import: ImportError: libGL.so.1: cannot open shared object file"
    )
    assert problem["mend"] == "pip install --force-reinstall 'kdlight-edge[runtime]'"
    assert report["engines"][0]["reason"] == "needs cv2"


def test_a_package_whose_instructions_the_processor_has_not_is_told_so(tmp_path: Path) -> None:
    for name in ("cv2", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    code, report, _ = run_doctor(tmp_path)
    assert code == 1
    assert "ended by signal 4; this build does not suit the processor" in report["problems"][0]["what"]


def test_cameras_are_listed_with_their_stable_names(tmp_path: Path) -> None:
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    for number in (0, 2, 10):
        (tmp_path / f"dev/video{number}").write_text("")
    (tmp_path / "dev/v4l/by-id/usb-Logitech_C920-video-index0").symlink_to("../../video2")
    (tmp_path / "sys/class/video4linux/video2").mkdir(parents=True)
    (tmp_path / "sys/class/video4linux/video2/name").write_text("HD Pro Webcam C920\n")
    cameras = checkup.examine(tmp_path)["cameras"]
    assert [camera["path"] for camera in cameras] == ["/dev/video0", "/dev/video2", "/dev/video10"]
    assert cameras[1]["name"] == "HD Pro Webcam C920"
    assert cameras[1]["links"] == ["/dev/v4l/by-id/usb-Logitech_C920-video-index0"]
    assert all(camera["opens"] for camera in cameras)


def test_a_camera_that_this_user_may_not_open_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/video0").write_text("")
    monkeypatch.setattr(os, "access", lambda *_: False)
    report = checkup.examine(tmp_path)
    assert "this user may not open it (it belongs to group " in report["cameras"][0]["reason"]
    assert report["problems"][-1]["mend"] == "sudo usermod -aG video $USER, then log in again"
    lines = "\n".join(doctor._lines(report))
    assert "- /dev/video0  unnamed  this user may not open it" in lines
    assert "to do" in lines


def test_the_page_for_people_names_the_board_and_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "ready: kdlight-edge infer works here" in capsys.readouterr().out
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_text("raspberrypi,5-model-b\0brcm,bcm2712\0")
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    lines = "\n".join(doctor._lines(checkup.examine(tmp_path)))
    assert "machine  Raspberry Pi 5 Model B Rev 1.0" in lines
    assert "board    pi-5: Raspberry Pi 5" in lines
    assert "budget 3 ms at 128 px, 8 ms at 224 px, 2 MB of files, 150 MB of memory" in lines


def test_a_machine_without_figures_has_no_budget(tmp_path: Path) -> None:
    lines = "\n".join(doctor._lines(checkup.examine(tmp_path)))
    assert "no budget: nothing to derive one from" in lines
    assert "none at /dev/video*" in lines


@pytest.mark.parametrize(
    ("word", "state", "mend"),
    [
        ("0", "not throttled", None),
        ("50000", "not throttled, since it was started: under-voltage, throttled", "use the power supply"),
        ("80008", "throttled: soft temperature limit, since it was", "give it a heat sink"),
    ],
)
def test_a_board_that_is_slowed_down_is_told_why_and_what_mends_it(
    tmp_path: Path, word: str, state: str, mend: str | None
) -> None:
    for name, text in {
        FIRMWARE_FILE: word,
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "61000",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    report = checkup.examine(tmp_path)
    lines = "\n".join(doctor._lines(report))
    assert f"state    61 °C, {state}" in lines
    mends = [problem["mend"] for problem in report["problems"]]
    assert any(text.startswith(mend) for text in mends) if mend else mends == []
