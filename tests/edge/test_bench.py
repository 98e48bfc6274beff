"""A benchmark measures every scenario, keeps what a figure needs beside it, and holds a bundle to a board's budget."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlight_devices import detect as boards
from kdlight_devices import raspberry_pi
from kdlight_devices.board import Budget
from kdlight_devices.detect import detect
from kdlight_edge import fresh, scenarios
from kdlight_edge.cli import main
from kdlight_edge.commands import bench
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Unreadable
from kdlight_edge.picture import decode

Make = Callable[..., Path]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure so little that only the machinery is tested."""
    effort = scenarios.Effort(seconds=0.01, samples=64, warm_limit=0.0, pictures=2)
    monkeypatch.setattr(bench, "_effort", lambda _: effort)
    monkeypatch.setattr(bench, "FOLDER_FILES", 4)


@pytest.mark.usefixtures("short")
def test_one_run_measures_every_scenario_and_compares_with_the_budget(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle()
    assert main(["bench", str(path), "--quick", "--board", "pi-zero-2-w", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "kdlight-edge/bench/1"
    assert {"date", "command", "load_before"} <= record.keys()
    assert record["machine"]["board"] == detect().name
    assert {"kdlight-edge", "numpy", "onnxruntime"} <= record["versions"].keys()
    assert record["bundle"]["bytes"] == sum(file.stat().st_size for file in path.iterdir())
    assert (record["engine"], record["precision"], record["threads"]) == ("onnxruntime", "fp32", 1)
    check_series(record["model"])
    assert record["model"]["gmacs_per_second"] == pytest.approx(record["bundle"]["macs"] / record["model"]["p50"] / 1e6)
    for size in ("224x224", "640x480"):
        check_series(record["bytes_to_result"][size])
        assert set(record["bytes_to_result"][size]["stages"]) == {"decode", "prepare", "infer"}
        assert len(record["throughput"][size]["runs"]) == 5
        assert record["throughput"][size]["min"] <= record["throughput"][size]["images_per_second"]
    assert 0 < record["cold_start_ms"]["min"] <= record["cold_start_ms"]["median"] <= record["cold_start_ms"]["max"]
    assert 20e6 < record["peak_rss_bytes"] < 1e9
    assert record["budget"]["board"] == "pi-zero-2-w"
    assert record["budget"]["measured_on"] == detect().name
    proved = record["model"]["p99"] is not None  # where a second holds enough samples of so small a network
    assert [row["met"] for row in record["budget"]["rows"]] == [True] * (3 + proved)
    check_table(record)


@pytest.mark.usefixtures("short")
def test_the_network_of_openvino_is_weighed_with_its_weights(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle(openvino=True)
    assert main(["bench", str(path), "--quick", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["engine"] == "openvino"
    assert record["bundle"]["artifact_bytes"] == sum((path / f"model.{end}").stat().st_size for end in ("xml", "bin"))


def check_series(found: dict[str, Any]) -> None:
    assert found["n"] >= 64
    assert found["min"] <= found["p50"] <= found["p90"] <= found["max"]
    assert found["p99"] is None or found["n"] >= 662
    assert found["warm_up"]["runs"] >= 10


def check_table(record: dict[str, Any]) -> None:
    lines = bench._lines({**record, "model": {**record["model"], "unstable": True, "p99": None}})
    table = "\n".join(lines)
    assert "UNSTABLE (cv above 2.5 %): network alone" in table
    assert "budget of pi-zero-2-w, but measured on" in table
    assert (
        len({len(line) for line in lines if "bytes to result" in line and "images" not in line and "UNST" not in line})
        == 1
    )


def test_a_p99_that_the_samples_do_not_prove_is_said_not_to_be_compared() -> None:
    model = {"p50": 1.0, "p99": None}
    record = {
        "bundle": {"input": [128, 128], "bytes": 1},
        "model": model,
        "peak_rss_bytes": 1,
        "machine": {"board": "pi-5"},
    }
    assert raspberry_pi.PI_5.budget is not None
    found = bench._budget("pi-5", raspberry_pi.PI_5.budget, record)
    assert [row["met"] for row in found["rows"]] == [True] * 3
    assert "-      network p99, ms                not compared: the samples prove none" in "\n".join(
        bench._verdict(found)
    )


@pytest.mark.usefixtures("short")
def test_a_missed_budget_is_exit_code_3_after_the_figures(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = dataclasses.replace(
        raspberry_pi.PI_5,
        # A quick run may or may not have the 662 samples of a p99, so that row is never the missed one.
        budget=Budget(10, 10, 1e-9, 1e-9, "derived, not measured: a test", 1e9, 1e9, "", "", None, ""),
    )
    monkeypatch.setattr(boards, "BOARDS", (strict,))
    assert main(["bench", str(tiny_bundle()), "--quick", "--board", "pi-5"]) == 3
    said = capsys.readouterr()
    assert said.out.count("MISSED") == 3
    assert "tiny misses the budget of pi-5: network p50, ms is " in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "toaster"], "--board: board 'toaster' is unknown; choose one of"),
        (["--board", "jetson"], "--board jetson is a family; choose one of jetson-nano, orin-nano"),
        (["--board", "other"], "so there is no budget; name a board"),
        (["--threads", "-2"], "--threads -2 is below 0"),
        (["--threads", "257"], "--threads 257 is above 256"),
        (["--seconds", "0"], "--seconds 0 is not between"),
        (["--seconds", "nan"], "--seconds nan is not between"),
        (["--engine", "abacus"], "--engine abacus is unknown"),
    ],
)
def test_a_flag_that_cannot_be_is_exit_code_2(
    tiny_bundle: Make, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["bench", str(tiny_bundle()), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_encoded_pictures_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, second = (scenarios.encoded_pictures(300, 200, 3) for _ in range(2))
    assert first == second
    assert len(set(first)) == 3
    assert all(decode(content).shape == (200, 300, 3) for content in first)


def test_an_album_in_memory_gives_the_same_pictures_in_the_same_order() -> None:
    pictures = scenarios.encoded_pictures(64, 64, 4)
    one, two = (scenarios.Encoded(pictures, 9) for _ in range(2))
    assert len(one) == 9
    for a, b in zip(one, two, strict=True):
        assert not isinstance(a, Unreadable)
        assert not isinstance(b, Unreadable)
        np.testing.assert_array_equal(a.image, b.image)
        assert a.meta["decode_ms"] > 0


def test_a_disk_without_room_for_the_pictures_is_named(
    disk_of: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_of(64)
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    with pytest.raises(KDLightError, match=rf"{disk}/.*/00001\.jpg cannot be written \(No space left on device\)"):
        fresh.folder_peak_rss(tmp_path / "gone.kdl", [b"x" * 40_000], engine="auto", count=4)
    assert list(disk.iterdir()) == []


def test_a_command_that_fails_in_a_fresh_process_is_reported_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(KDLightError, match=r"exit code 5 in a fresh process: kdlight-edge: there is no bundle at"):
        fresh.cold_start_ms(tmp_path / "gone.kdl", b"", engine="auto", repeats=1)
    with pytest.raises(KDLightError, match=r"exit code 5 in a fresh process: kdlight-edge: there is no bundle at"):
        fresh.folder_peak_rss(tmp_path / "gone.kdl", [b"x"], engine="auto", count=1)
