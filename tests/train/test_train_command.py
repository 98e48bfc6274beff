"""`kdlight-edge train` as a user runs it: whole, killed, resumed, on two processes, and with wrong input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision

from kdlight_edge.cli import main

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""More threads than one would only wait for each other at this size."""

RECIPE = """
[input]
imgsz = 32
[teacher]
name = "mobilenet_v3_small"
imgsz = 32
epochs = 3
batch = 8
[student]
name = "nano"
epochs = 18
batch = 8
lr = 1e-3
warmup = 1
ema = 0.8
[distil]
views = 3
weight = 0.1
"""


@pytest.fixture(scope="module")
def train_command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return `kdlight-edge train` on a task that takes seconds, with everything but --out."""
    root = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(5)
    for part, count in (("train", 24), ("test", 8)):
        for label, level in (("dark", 60), ("light", 180)):
            (root / "pictures" / part / label).mkdir(parents=True)
            for number in range(count):
                # Smooth, as photographs are: what resampling does to pixel noise would be the lesson otherwise.
                clouds = cv2.resize(random.normal(level, 25, (4, 4, 3)), (48, 48), interpolation=cv2.INTER_LINEAR)
                picture = clouds.clip(0, 255).astype(np.uint8)
                cv2.imwrite(str(root / "pictures" / part / label / f"{number:02d}.png"), picture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), root / "weights.pth")
    (root / "short.toml").write_text(RECIPE)
    return [
        sys.executable, "-m", "kdlight_edge.cli", "train", "--data", str(root / "pictures"), "--device", "cpu",
        "--recipe", str(root / "short.toml"), "--teacher-weights", str(root / "weights.pth"),
        "--cache", str(root / "cache"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished_run(train_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return RUN of one training, made by the command as a user gives it."""
    run = tmp_path_factory.mktemp("runs") / "short"
    command = [*train_command, "--out", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "report.json")
    return run


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    record: dict[str, dict[str, torch.Tensor]] = torch.load(run / "student.pt", weights_only=True)
    return record["weights"]


def test_a_training_ends_with_student_report_and_page(finished_run: Path) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    assert report["student"]["test"]["n"] == 16
    assert report["student"]["test"]["accuracy"] > 0.8
    assert report["teacher"]["name"] == "mobilenet_v3_small"
    gap, own, other = (report[key] for key in ("difference", "student", "teacher"))
    assert gap["test"]["accuracy"] == pytest.approx(own["test"]["accuracy"] - other["test"]["accuracy"])
    assert len(report["history"]) == 18
    page = (finished_run / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_a_second_training_takes_the_teacher_from_the_cache(
    finished_run: Path, train_command: list[str], tmp_path: Path
) -> None:
    assert finished_run.is_dir()
    run = tmp_path / "again"
    done = subprocess.run(
        [*train_command, "--out", str(run)], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert "going on from" in done.stderr
    for key, value in weights_of(finished_run).items():
        assert torch.equal(value, weights_of(run)[key]), key


def test_a_training_killed_at_any_moment_resumes_to_the_same_student(
    finished_run: Path, train_command: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    command = [*train_command, "--out", str(run)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        deadline = time.monotonic() + 120
        while not (run / "student.ckpt").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)  # polls for the file; the deadline bounds it
        process.send_signal(signal.SIGKILL)
    assert not (run / "student.pt").exists(), "the training ended before it could be killed"
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    for key, value in weights_of(finished_run).items():
        assert torch.equal(value, weights_of(run)[key]), key


def test_a_training_may_end_with_8_bits_learnt_and_goes_on_by_the_same_command(
    finished_run: Path, train_command: list[str], tmp_path: Path
) -> None:
    assert finished_run.is_dir()  # whose teacher is in the cache
    command = [*train_command, "--out", str(tmp_path), "--epochs", "2", "--qat", "--qat-epochs", "1", "--resume"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / "student.int8.pt")
    assert "8 bits, epoch" not in done.stderr  # the second found everything done
    assert "student nano" not in done.stderr


def test_two_processes_train_one_student(train_command: list[str], tmp_path: Path) -> None:
    run = tmp_path / "two"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "--", *train_command[2:], "--out", str(run), "--start", "none",
    ]  # fmt: skip
    documented = "--nproc-per-node 2 -m -- kdlight_edge.cli train --data"
    assert documented in " ".join(command)
    assert documented in (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((run / "report.json").read_text())
    assert report["student"]["test"]["accuracy"] > 0.8
    assert done.stdout.count("report.json") == 1


def test_two_processes_train_a_student_and_then_its_8_bits(train_command: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--",
        *train_command[2:], "--out", str(tmp_path / "run"), "--start", "none", "--epochs", "1", "--qat",
        "--qat-epochs", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(tmp_path / "run" / "student.int8.pt")]


def test_two_processes_make_one_start(train_command: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--",
        "kdlight_edge.cli", "pretrain", *train_command[4:-2], "--epochs", "1", "--out", str(tmp_path / "start.pt"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(tmp_path / "start.pt")]
    assert done.stderr.count("of the teacher's variance") == 1


def test_a_folder_with_a_training_is_not_overwritten(
    finished_run: Path, train_command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*train_command[3:], "--out", str(finished_run)]) == 2
    assert "holds a training already; add --resume" in capsys.readouterr().err


def test_resuming_with_another_recipe_names_what_differs(
    finished_run: Path, train_command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*train_command[3:], "--out", str(finished_run), "--resume", "--lr", "0.1"]) == 2
    assert "was started with student.lr = 0.001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--device", "cuda"], 2, "sees no GPU here"),
        (["--teacher", "alexnet2"], 2, "--teacher alexnet2 is unknown to torchvision"),
        (["--teacher", "squeezenet1_1"], 1, "does not fit squeezenet1_1"),
        (["--teacher-frozen", "99"], 2, "teacher.frozen is 99; mobilenet_v3_small has"),
        (["--method", "dist"], 2, "cannot teach two classes"),
        (["--foreign", "nowhere"], 1, "--foreign nowhere cannot be read: No such file or directory"),
        (["--imgsz", "33"], 2, "'input.imgsz' is 33; it must be a multiple of 32"),
        (["--teacher-weights", "nowhere.pth"], 1, "nowhere.pth cannot be opened"),
        (
            ["--cache", "/proc/cache"],
            1,
            "--cache /proc/cache cannot be written: No such file or directory; choose anot",
        ),
        (["--lr", "1e9"], 1, "lower the learning rate"),
        (["--qat", "--qat-epochs", "0"], 2, "--qat-epochs 0: it must be above 0"),
        (["--qat", "--qat-lr", "nan"], 2, "--qat-lr nan: it must be above 0 and below 1e+37"),
        (["--lr", "inf"], 2, "'student.lr' is inf; it must be above 0 and below 1e+37"),
        # One step, behind which no loss is looked at; the weights stay finite, their products do not.
        (["--lr", "1e10", "--epochs", "1", "--batch", "64"], 1, "student nano: the answers are no longer finite in ep"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    train_command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    code: int,
    message: str,
) -> None:
    if flags == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert main([*train_command[3:], "--out", str(tmp_path / "run"), *flags]) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("kdlight-edge: ")
    assert message in last
    assert not (tmp_path / "run" / "run.json").exists()  # the right command finds the folder free


def test_weights_that_are_no_weights_are_refused(
    train_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text.pth"
    file.write_text("hello")
    assert main([*train_command[3:], "--out", str(tmp_path / "run"), "--teacher-weights", str(file)]) == 1
    assert "PyTorch" in capsys.readouterr().err.splitlines()[-1]
