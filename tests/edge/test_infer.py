"""``kdlight-edge infer`` as a user runs it: flags, lines, exit codes, signals, full disks."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main
from tests.edge.encoded import png

LIMIT = 20.0
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer"]
SCENE = "scene:crack?size=64x64&fps=50"


def infer(*arguments: object, **keywords: Any) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **keywords)


def test_a_folder_gives_a_json_line_for_each_picture_in_order(
    pictures: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--folder", str(pictures), "--model", str(tiny_bundle()), "--json"]) == 0
    out, err = capfd.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["index"] for line in lines] == list(range(8))
    assert [line["label"] for line in lines] == ["crack"] * 4 + ["no_crack"] * 4
    assert {line["bundle"]["name"] for line in lines} == {"tiny"}
    assert "8 pictures in" in err
    assert "8 of 8 as their folders say" in err


def test_without_json_there_is_a_short_line_for_each_picture(
    pictures: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--source", str(pictures), "--model", str(tiny_bundle()), "--topk", "2"]) == 0
    first = capfd.readouterr().out.splitlines()[0]
    assert first.startswith(f"{pictures}/crack/0.png  crack 1.000  no_crack 0.000  accepted")


def test_a_camera_gives_numbered_lines_and_its_age(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--camera", f"{SCENE}&frames=15", "--model", str(tiny_bundle()), "--max-age", "60"]) == 0
    out, err = capfd.readouterr()
    assert f"{SCENE}&frames=15 #" in out
    assert "age p50" in err or "age max" in err


def test_the_next_run_of_a_camera_goes_on_with_its_table_and_writes_over_no_copy(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    out, table, model = tmp_path / "out", tmp_path / "t.csv", str(tiny_bundle())
    run = ["infer", "--camera", SCENE, "--model", model, "--frames", "3", "--save", str(out), "--csv", str(table)]
    assert main(run) == 0
    first, copies = table.read_text(), set(out.glob("*.jpg"))
    with table.open("a") as file:
        file.write("torn by a kil")
    assert main(run) == 0
    rows = table.read_text().splitlines()
    assert table.read_text().startswith(first)
    assert (len(rows), rows.count(rows[0])) == (1 + 6, 1)
    assert rows == (out / "predictions.csv").read_text().splitlines()
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 6
    assert len(set(out.glob("*.jpg")) - copies) == 3
    assert len(copies) == 3


def test_behind_a_table_of_other_columns_one_begins_with_its_own_header(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("day,rain\n1,2\n")
    assert main(["infer", "--camera", SCENE, "--model", str(tiny_bundle()), "--frames", "1", "--csv", str(table)]) == 0
    rows = table.read_text().splitlines()
    assert rows[:2] == ["day,rain", "1,2"]
    assert rows[2].startswith("source,index,captured")
    assert len(rows) == 4


def test_frames_ends_an_endless_camera(tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--camera", SCENE, "--model", str(tiny_bundle()), "--frames", "3", "--json"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 3


def test_each_bad_picture_has_its_own_line_and_the_exit_code_tells(
    pictures: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = cv2.imencode(".jpg", np.zeros((50, 50, 3), np.uint8))[1].tobytes()
    (pictures / "zero.jpg").write_bytes(b"")
    (pictures / "text.jpg").write_bytes(b"dear sir")
    (pictures / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    png(pictures / "one.png", (220, 0, 0), (1, 1))
    png(pictures / "wide.png", (220, 0, 0), (20_000, 2))
    assert main(["infer", "--folder", str(pictures), "--model", str(tiny_bundle()), "--json"]) == 1
    out, err = capfd.readouterr()
    lines = {Path(line["source"]).name: line for line in map(json.loads, out.splitlines())}
    reasons = {name: line["reason"] for name, line in lines.items() if line["decision"] == "error"}
    assert set(reasons) == {"zero.jpg", "text.jpg", "torn.jpg"}
    assert len(set(reasons.values())) == 3
    assert lines["one.png"]["label"] == lines["wide.png"]["label"] == "crack"
    assert "3 not answered" in err


def test_save_writes_copies_lines_and_a_table(
    tmp_path: Path, pictures: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out, sheet, table = tmp_path / "out", tmp_path / "sheet.png", tmp_path / "table.csv"
    more = ["--save", str(out), "--sheet", str(sheet), "--csv", str(table)]
    assert main(["infer", "--folder", str(pictures), "--model", str(tiny_bundle()), *more]) == 0
    capfd.readouterr()
    assert len(list(out.rglob("*.png.jpg"))) == 8
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 8
    assert (out / "predictions.csv").read_text().splitlines()[1:] == table.read_text().splitlines()[1:]
    assert cv2.imread(str(sheet)) is not None


def test_conf_turns_an_answer_into_an_abstention(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    png(tmp_path / "in/a.png", (120, 70, 0))
    arguments = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--json"]
    decisions = []
    for conf in ("0.5", "0.999"):
        assert main([*arguments, "--conf", conf]) == 0
        decisions.append(json.loads(capfd.readouterr().out)["decision"])
    assert decisions == ["accepted", "abstained"]


def test_a_service_without_a_bundle_of_its_own_serves_what_an_update_brought(
    tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = str(tmp_path / "state")
    assert main(["infer", "--folder", str(pictures), "--model", "", "--state", state, "--print-config"]) == 0
    assert main(["infer", "--folder", str(pictures), "--model", ""]) == 2
    assert "--model is empty" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_camera_run_within_a_second_with_every_line_whole(
    tmp_path: Path, tiny_bundle: Callable[..., Path], number: signal.Signals
) -> None:
    model, saved = tiny_bundle(), tmp_path / "table.csv"
    command = [*COMMAND, "--camera", SCENE, "--model", str(model), "--json", "--csv", str(saved)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(5)]
        process.send_signal(number)
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(LIMIT) == 0
    lines = [json.loads(line) for line in [*first, *out.splitlines()]]
    assert len(lines) >= 5
    assert len(saved.read_text().splitlines()) == len(lines) + 1
    assert f"{len(lines):,} pictures in" in err
    # What was captured after the signal (a second of frames) would show here if it had gone on.
    assert lines[-1]["index"] - lines[4]["index"] < 50


def test_a_folder_stopped_before_its_end_says_so_by_its_exit_code(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    png(tmp_path / "in/0.png", (220, 0, 0), (900, 900))
    for i in range(1, 1500):
        os.link(tmp_path / "in/0.png", tmp_path / f"in/{i}.png")
    command = [*COMMAND, "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
    lines = [json.loads(line) for line in [first, *out.splitlines()]]
    assert process.returncode == 130
    assert [line["index"] for line in lines] == list(range(len(lines)))
    assert f"stopped after {len(lines):,} of 1,500 pictures" in err


def test_a_full_disk_ends_a_folder_run_with_one_line(pictures: Path, tiny_bundle: Callable[..., Path]) -> None:
    for target in (["--csv", "/dev/full"], ["--sheet", "/dev/full"]):
        done = infer("--folder", pictures, "--model", tiny_bundle(), "--json", *target)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "No space left" in line
        assert len([json.loads(line) for line in done.stdout.splitlines()]) == 8


def test_a_full_disk_under_stdout_is_told_too(pictures: Path, tiny_bundle: Callable[..., Path]) -> None:
    command = [*COMMAND, "--folder", str(pictures), "--model", str(tiny_bundle()), "--json"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("kdlight-edge: stdout cannot be written: No space left on device;")


def test_a_reader_that_has_seen_enough_is_no_error(tiny_bundle: Callable[..., Path]) -> None:
    command = [*COMMAND, "--camera", SCENE, "--model", str(tiny_bundle()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("source", ["--folder", "--camera"])
def test_a_run_goes_on_where_a_standard_stream_is_closed(
    tmp_path: Path, pictures: Path, tiny_bundle: Callable[..., Path], source: str, closed: str
) -> None:
    where = str(pictures) if source == "--folder" else f"{SCENE}&frames=8"
    kept = tmp_path / "kept.jsonl"
    command = [*COMMAND, source, where, "--model", str(tiny_bundle()), "--json-file", str(kept)]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert [json.loads(line)["index"] for line in kept.read_text().splitlines()] == list(range(8))
    assert len(done.stdout.splitlines()) == (0 if ">&-" in closed.split() else 8)
    assert ("8 pictures in" in done.stderr) == ("2>&-" not in closed)


def test_help_needs_no_package(tmp_path: Path) -> None:
    blocker = "import sys\nsys.modules.update(dict.fromkeys(('numpy', 'cv2', 'onnxruntime')))\n"
    script = f"{blocker}from kdlight_edge.cli import main\nmain([sys.argv[1], '--help'])"
    for verb in ("infer", "demo"):
        done = subprocess.run(
            [sys.executable, "-c", script, verb], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.stderr == ""
        assert "--model NAME.kdl" in done.stdout
