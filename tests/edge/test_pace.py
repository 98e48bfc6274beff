"""A camera held to a pace: by --max-fps, and by the governor of a board that heats up."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_devices.governor import Governor, Limits
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.pace import Pace
from kdlight_edge.pulse import Pulse
from tests.edge.fakes import FakeSource
from tests.waiting import until


def test_a_pace_lets_no_more_frames_through_than_its_limit() -> None:
    pace, stop = Pace(50.0), threading.Event()
    started = time.monotonic()
    for _ in range(11):
        pace.wait(stop)
    assert time.monotonic() - started >= 10 / 50


def test_a_pace_without_a_limit_and_one_that_is_stopped_hold_nobody() -> None:
    stop = threading.Event()
    for _ in range(1000):
        Pace().wait(stop)
    slow = Pace(1e-6)
    slow.wait(stop)
    stop.set()
    slow.wait(stop)  # would be eleven days


def test_max_fps_answers_fewer_frames_and_counts_the_others_as_dropped(tiny_bundle: Callable[..., Path]) -> None:
    command = ["infer", "--source", "scene:crack?size=64x64&fps=100", "--frames", "8", "--json", "--max-fps", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "kdlight_edge.cli", *command, "--model", str(tiny_bundle())],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["fps_limit"] for line in lines} == {20.0}
    assert sum(line["dropped"] for line in lines) > 0
    assert lines[-1]["index"] > lines[0]["index"] + 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-fps", "0"], "--max-fps 0 is not a rate"),
        (["--max-fps", "1e-300"], "--max-fps 1e-300 is less than one frame a day; give 0.000012 or more"),
        (["--stall-timeout", "inf"], "--stall-timeout inf is too long a wait; give 86400 seconds (a day) or less"),
        (["--camera", "scene:crack?fps=1e-300", "--model", "tiny"], "fps is above 0 (0.001) to 1000"),
    ],
)
def test_a_rate_or_a_wait_that_cannot_be_is_refused(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", *([] if "--camera" in words else ["--camera", "http://127.0.0.1:1/"]), *words]) == 2
    assert said in capfd.readouterr().err


def test_a_hot_board_lowers_the_pace_and_each_result_says_so(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text("50000\n")
    with open_classifier(tiny_bundle()) as classifier:
        governor = Governor(Limits(75.0, most=20.0))
        source = FakeSource([])
        with Pulse(classifier, source, governor=governor, root=tmp_path, every=0.01) as pulse:
            assert (pulse.pace.limit, classifier.origin["fps_limit"]) == (20.0, 20.0)
            governor._next = 0.0
            (zone / "temp").write_text("80000\n")
            until(lambda: classifier.origin["fps_limit"] != 20.0)
            assert pulse.pace.limit is not None
            assert pulse.pace.limit < 20.0
