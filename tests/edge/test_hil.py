"""Scenarios on a board: a camera that fails as it is told to, what is watched meanwhile, and what it adds up to."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_devices.heat import Throttling
from kdlight_devices.telemetry import look
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.errors import UsageError
from kdlight_edge.hil import live, replay, vigil
from kdlight_edge.hil import trial as trial_module
from kdlight_edge.hil.replay import Fault
from kdlight_edge.scenarios import encoded_pictures
from scripts.desk import clocks
from scripts.desk.page import markdown
from scripts.desk.report import html
from scripts.desk.verdict import budget_rows, changes, figures, read_budget
from tests.edge.browser import browser

Make = Callable[..., Path]


def test_a_camera_that_fails_gives_no_answer_meanwhile_and_is_back(tiny_bundle: Make) -> None:
    faults = (Fault("unplug", 0.6, 0.5), Fault("freeze", 2.0, 0.6))
    with open_classifier(tiny_bundle()) as classifier:
        found = live.watch_camera(classifier, encoded_pictures(64, 48, 8), 3.5, faults, fps=20)
    assert [fault["kind"] for fault in found["faults"]] == ["unplug", "freeze"]
    assert [fault["answered"] for fault in found["faults"]] == [0, 0]
    assert all(fault["back_s"] is not None for fault in found["faults"])
    assert found["reconnects"] >= 1
    assert found["repeated"] >= 5
    assert found["results"] + found["dropped"] + found["repeated"] <= found["sent"]
    assert found["age_ms"]["p99"] is None, "fewer than 662 results prove no p99"
    assert len(found["series"]) <= live.POINTS


@pytest.mark.parametrize("text", ["unplug", "melt@1:2", "freeze@1", "unplug@a:b"])
def test_a_fault_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write unplug@AT:FOR"):
        replay.read_fault(text)


def test_pictures_travel_through_a_pipe_unchanged() -> None:
    pictures = [b"one", b"", b"three" * 1000]
    assert list(replay.unpack(io.BytesIO(replay.pack(pictures)))) == pictures


def test_a_pause_does_not_disappear_from_a_thinned_series() -> None:
    values = [1.0] * 5000
    values[3333] = 99.0
    found = live.series([i / 10 for i in range(5000)], values)
    assert len(found) <= live.POINTS
    assert max(worst for _, _, worst in found) == 99.0
    assert {middle for _, middle, _ in found} == {1.0}


def watched(seconds: float, watts: float | None, **told: Any) -> vigil.Vigil:
    """Return a vigil that has looked once a second."""
    guard = vigil.Vigil()
    guard.meter = "none" if watts is None else "INA3221"
    base = dataclasses.replace(look(), watts=watts, **told)
    guard.sights = [vigil.Sight(float(s), base) for s in range(int(seconds) + 1)]
    return guard


def test_energy_is_watts_by_time_by_answers() -> None:
    assert watched(60, 5.0).joules([10.0] * 6000) == pytest.approx(0.05, rel=1e-3)


def test_energy_is_not_told_without_a_meter_or_in_too_short_a_run() -> None:
    assert watched(60, None).joules([10.0] * 6000) is None
    assert watched(30, 5.0).joules([10.0] * 3000) is None


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("sys/class/hwmon/hwmon3/name", "ina3221\n", "INA3221"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0", "POM_5V_IN\n", "INA3221"),
        ("usr/bin/vcgencmd", "", "pmic_read_adc"),
        ("usr/bin/tegrastats", "", "tegrastats"),
    ],
)
def test_the_meter_is_named_by_what_the_board_has(tmp_path: Path, file: str, text: str, name: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    told = dataclasses.replace(look(), watts=5.0)
    assert vigil.meter(told, tmp_path) == name
    assert vigil.meter(dataclasses.replace(told, watts=None), tmp_path) == "none"


def test_time_under_a_brake_is_counted() -> None:
    guard = watched(10, None, throttling=Throttling(True, ("throttled",)))  # noqa: FBT003 - as it is declared
    report = guard.report()
    assert (report["throttled_seconds"], report["throttled_by"]) == (10.0, ["throttled"])
    assert report["power"] == {"meter": "none", "mean_watts": None, "idle_watts": None}


def test_growth_of_memory_is_told_of_a_long_run_only() -> None:
    guard = watched(200, None)
    guard.sights = [
        vigil.Sight(s.at, dataclasses.replace(s.told, process_bytes=10_000_000 + int(s.at * 1000)))
        for s in guard.sights
    ]
    assert guard.report()["rss_mb_per_hour"] == pytest.approx(3.6)
    assert watched(60, None).report()["rss_mb_per_hour"] is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"uid": "0"}, "does not let its clocks be set"),
        ({"uid": "1000", "governor": "ondemand", "sudo": "missing"}, "sudo is missing on the board"),
        ({"uid": "1000", "governor": "ondemand", "sudo": "asks"}, "sudo asks for a password"),
        ({"uid": "1000", "governor": "ondemand", "sudo": "yes"}, "measured, and set back"),
        ({"uid": "0", "governor": "schedutil", "sudo": "missing"}, "measured, and set back"),
    ],
)
def test_locked_clocks_are_measured_where_the_board_allows_it(facts: dict[str, str], said: str) -> None:
    allowed, note = clocks.may_lock(facts)
    assert said in note
    assert allowed == ("set back" in note)


# Records


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Scenarios a, c and d of a tiny bundle, as ``bench --scenario`` prints them."""
    import contextlib

    from tests.conftest import tiny_bundle

    make = tiny_bundle.__wrapped__(tmp_path_factory.mktemp("hil"))  # type: ignore[attr-defined]
    path, found = make(), {}
    for letter in ("a", "c", "d"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(["bench", str(path), "--scenario", letter, "--quick", "--seconds", "1.5"]) == 0
        found[letter] = {**json.loads(out.getvalue()), "clocks": "deployed"}
    return found


def test_a_record_has_what_a_figure_needs_beside_it(trials: dict[str, dict[str, Any]]) -> None:
    trial = trials["a"]
    assert trial["schema"] == "kdlight-edge/trial/1"
    assert {"date", "command", "machine", "versions", "boot", "bundle", "engine", "engine_sha256"} <= trial.keys()
    assert trial["golden"]["largest_difference"] <= trial["golden"]["allowed"]
    assert {one.name for one in figures(trial)} >= {"a.p50", "a.p90", "bundle"}
    assert "a.p99" not in {one.name for one in figures(trial)} or trial["figures"]["model"]["n"] >= 662
    assert {one.name for one in figures(trials["d"])} >= {"d.224x224", "d.cold_start", "d.peak_memory"}


def test_pictures_are_judged_by_the_engine_that_was_timed(
    tiny_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, colour, count in (("crack", (0, 0, 255), 3), ("no_crack", (0, 255, 0), 2), ("no_crack", (0, 0, 255), 1)):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(folder / f"{colour[1]}-{number}.png"), np.full((32, 32, 3), colour, np.uint8))
    (tmp_path / "data" / "crack" / "cut.png").write_bytes(b"no picture")
    flags = ["--scenario", "a", "--quick", "--seconds", "0.1", "--data", str(tmp_path / "data")]
    assert main(["bench", str(tiny_bundle()), *flags]) == 0
    trial = {**json.loads(capsys.readouterr().out), "exported_accuracy": 1.0}
    assert (trial["figures"]["accuracy"]["n"], trial["figures"]["accuracy"]["accuracy"]) == (6, 5 / 6)
    assert trial["figures"]["accuracy"]["unreadable"] == 1
    page = markdown(record_of({"a": {**trial, "clocks": "deployed"}}))
    assert "83.3% of 6, 1 more unreadable" in page
    assert "had 100.0%, on its held-out pictures" in page
    found = {one.name: one.value for one in figures(trial)}
    assert found["a.lowest_recall"] == 2 / 3
    assert found["a.accuracy_drop"] == pytest.approx(1 / 6)
    rows = budget_rows([{**trial, "clocks": "deployed"}], {"acc_drop": 0.01, "recall_floor": 0.5})
    assert rows is not None
    assert [row["met"] for row in rows["rows"]] == [False, True]


def test_pictures_that_cannot_be_judged_are_told_before_anything_is_measured(
    tiny_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> dict[str, Any]:
        raise AssertionError("was measured")

    monkeypatch.setitem(trial_module.SCENARIOS, "a", measure)
    assert main(["bench", str(tiny_bundle()), "--scenario", "a", "--data", str(tmp_path / "nowhere")]) == 1
    assert f"--data {tmp_path / 'nowhere'} cannot be read" in capsys.readouterr().err


def test_a_class_without_pictures_keeps_no_floor_of_recall() -> None:
    classes = {"crack": {"sensitivity": None}, "no_crack": {"sensitivity": 1.0}}
    trial = {
        "scenario": "a", "clocks": "deployed", "bundle": {"bytes": 1}, "joules": None, "exported_accuracy": None,
        "figures": {"model": dict.fromkeys(("p50", "p90", "p99")), "accuracy": {"accuracy": 1.0, "per_class": classes}},
    }  # fmt: skip
    found = budget_rows([trial], {"recall_floor": 0.9})
    assert found is not None
    assert [(row["measured"], row["met"]) for row in found["rows"]] == [(None, False)]


def test_a_bound_without_a_proved_figure_is_not_met(trials: dict[str, dict[str, Any]]) -> None:
    found = budget_rows([trials["c"]], {"age_p99_ms": 1e6, "j_per_inf": 1.0})
    assert found is not None
    assert [(row["what"], row["measured"], row["met"]) for row in found["rows"]] == [
        ("c.age_p99", None, False), ("a.joules", None, False),
    ]  # fmt: skip


def test_a_budget_is_held_and_missed(trials: dict[str, dict[str, Any]]) -> None:
    found = budget_rows(list(trials.values()), {"p90_ms": 1e-9, "bundle_mb": 10})
    assert found is not None
    assert [row["met"] for row in found["rows"]] == [False, True]


@pytest.mark.parametrize("proved", [True, False])
def test_a_boards_own_budget_bounds_the_p99_where_the_samples_prove_one(
    trials: dict[str, dict[str, Any]],
    proved: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    trial = {**trials["a"], "machine": {**trials["a"]["machine"], "board": "pi-5"}, "clocks": "deployed"}
    model = {**trial["figures"]["model"], "p99": 1e6 if proved else None}
    found = budget_rows([{**trial, "figures": {**trial["figures"], "model": model}}], None)
    assert found is not None
    assert [row["met"] for row in found["rows"] if row["what"] == "a.p99"] == ([False] if proved else [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ('{"p95": 1}', "unknown key p95"),
        ('{"p90_ms": "x"}', "no number"),
    ],
)
def test_a_budget_file_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "budget.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_budget(tmp_path / "budget.json")


def record_of(trials: dict[str, dict[str, Any]]) -> dict[str, Any]:
    first = trials["a"]
    return {
        "command": "scripts/bench_on_board.py --host <board>",
        "fingerprint": {"machine": first["machine"], "versions": first["versions"]},
        "changed": [], "trials": list(trials.values()), "clocks": "not asked for", "left": [], "kept": None,
        "ambient": "", "budget": budget_rows(list(trials.values()), {"p90_ms": 1e-9}), "reference": [],
    }  # fmt: skip


def test_the_pages_say_what_was_missed_and_what_could_not_be_measured(trials: dict[str, dict[str, Any]]) -> None:
    record = record_of(trials)
    page = markdown(record)
    assert "| a.p90 |" in page
    assert "**MISSED**" in page
    assert "no meter on this board" in page or trials["a"]["board"]["power"]["meter"] != "none"
    assert "nothing, by a listing before and afterwards" in page
    written = html(record)
    assert "budget missed: a.p90" in written
    assert "&lt;board&gt;" in written
    assert "<board>" not in written
    assert "http" not in written.replace("http://www.w3.org", ""), "the page fetches nothing"


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromedriver is missing: apt install chromium-driver")
def test_a_browser_shows_the_report_without_complaint_on_any_screen(
    trials: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "bench.html").write_text(html(record_of(trials)))
    with browser() as window:
        for width in (390, 1000):
            window.size(width, 900)
            window.open((tmp_path / "bench.html").as_uri())
            assert window.run("return document.documentElement.scrollWidth") <= width
            assert window.run("return document.querySelectorAll('svg polyline').length") >= 2
        assert window.complaints() == []


def test_what_changed_on_a_board_is_told_by_name() -> None:
    before = {"machine": {"governor": "ondemand", "kernel": "6"}, "versions": {"numpy": "2"}}
    after = {"machine": {"governor": "performance", "kernel": "6"}, "versions": {}}
    assert changes(before, after) == ["governor was ondemand and is performance", "numpy was 2 and is None"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--scenario", "a", "--board", "pi-5"], "do not go together"),
        (["--scenario", "b", "--data", "x"], "--data is judged with --scenario a"),
        (["--data", "x"], "kdlight-edge eval judges it alone"),
    ],
)
def test_flags_that_do_not_go_together_are_exit_code_2(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["bench", str(tiny_bundle()), *flags]) == 2
    assert said in capsys.readouterr().err
