"""Archives on real Ray clusters: workers, the run itself and files that kill; clusters that are away."""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra archive is not installed")
pq = pytest.importorskip("pyarrow.parquet")

from kdlight_edge.cluster import pool
from tests.edge.ports import free_port, listens

LIMIT = 300.0
"""Seconds within which a cluster must have done what is asked: a busy machine takes minutes."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_gcs_server_port_wait_time_s": "120",
}  # fmt: skip
"""A token, as a cluster has that others can reach; and patience."""


def infer(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **QUIET})


def ended(child: "subprocess.Popen[str]") -> tuple[int, str]:
    said = child.communicate(timeout=LIMIT)[1]
    return child.returncode, said


def until(true: Callable[[], object], child: "subprocess.Popen[Any]") -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


def answers(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [row for file in out.glob("part-*.parquet") for row in pq.read_table(file).to_pylist()]
    return rows


def members(of: int) -> list[int]:
    """Return the processes of classifiers that a run has begun, by their names."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
            if name.startswith("ray::MapWorker") and of in ancestors(int(process.name)):
                found.append(int(process.name))
        except OSError:  # noqa: PERF203 - it ended while it was looked at
            continue
    return found


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = int(re.sub(r".*\)", "", Path(f"/proc/{pid}/stat").read_text(encoding="ascii")).split()[1])
        yield pid


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder of 1,000 photographs, large enough to take a while, and two files that are none."""
    folder = tmp_path / "archive"
    (folder / "wall").mkdir(parents=True)
    picture = np.random.default_rng(1).integers(0, 60, (900, 1200, 3)).astype(np.uint8)
    picture[..., 2] += 180  # red: cracks
    first = folder / "0000.jpg"
    cv2.imwrite(str(first), picture)
    for number in range(1, 1000):
        (folder / "wall" / f"{number:04}.jpg").hardlink_to(first)
    (folder / "empty.jpg").touch()
    (folder / "torn.jpg").write_bytes(first.read_bytes()[:5000])
    return folder


@pytest.mark.slow
def test_no_kill_makes_a_picture_be_missing_or_answered_twice(
    archive: Path, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    command = ["--folder", archive, "--cluster", "local", "--threads", 2, "--out", out, "--model", tiny_bundle()]

    # The run itself is killed once it has written something, and not all.
    first = infer(*command)
    until(lambda: answers(out), first)
    first.kill()
    first.communicate()
    before = answers(out)
    assert 0 < len(before) < 1002

    # Of the next one, one of two classifiers.
    second = infer(*command)
    until(lambda: len(answers(out)) > len(before), second)
    pids = members(second.pid)
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    code, said = ended(second)
    assert code == 1, said
    assert f"{len(before):,} were answered before" in said
    rows = answers(out)
    assert Counter(row["key"] for row in rows) == Counter(
        path.relative_to(archive).as_posix() for path in archive.rglob("*.jpg")
    )
    assert {row["key"]: row["error"] for row in rows if row["decision"] == "error"} == {
        "empty.jpg": "empty file (0 bytes)",
        "torn.jpg": "truncated JPEG file: the end of the picture is missing",
    }
    assert {row["label"] for row in rows if row["decision"] == "accepted"} == {"crack"}
    kept = {(row["key"], row["decided"]) for row in before}
    assert kept <= {(row["key"], row["decided"]) for row in rows}

    # What is all done needs no cluster, and still tells of the two by its exit code.
    code, said = ended(infer(*command))
    assert (code, "1,002 were answered before" in said) == (1, True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, str]]:
    """Begin a head and one more machine, a CPU each; give the address for clients, and the one for its machines."""
    inside, outside = free_port(), free_port()
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
    start += ["--object-store-memory=100000000"]
    # Sockets lie below the folder, and their names may have a hundred letters: pytest's own is too deep.
    with tempfile.TemporaryDirectory(prefix="kdl-", ignore_cleanup_errors=True) as folder:
        head = ["--head", f"--port={inside}", f"--ray-client-server-port={outside}", f"--temp-dir={folder}"]
        environment = {**os.environ, **QUIET, "GRPC_ENABLE_FORK_SUPPORT": "0"}  # see docs/archive.md
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        command = [*start, *head, "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
        begun = [subprocess.Popen(command, **quiet)]
        try:
            while not (listens(inside) and listens(outside)):
                if begun[0].poll() is not None:  # a busy machine needs longer than Ray waits; all is in memory then
                    assert len(begun) < pool.STARTS, f"ray start ended with {begun[0].returncode}"
                    begun.insert(0, subprocess.Popen(command, **quiet))
                time.sleep(0.1)
            begun.append(subprocess.Popen([*start, f"--address=127.0.0.1:{inside}"], **quiet))
            yield f"ray://127.0.0.1:{outside}", f"127.0.0.1:{inside}"
        finally:
            for node in reversed(begun):
                node.terminate()
            for node in begun:
                node.wait(LIMIT)


@pytest.mark.slow
@pytest.mark.parametrize("way", [0, 1], ids=["as a client", "from a machine of it"])
def test_an_archive_is_answered_by_a_cluster_that_was_there(
    cluster: tuple[str, str], way: int, tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(40):
        cv2.imwrite(str(archive / f"{number}.png"), np.full((40, 40, 3), (0, 255, 0), np.uint8))
    code, said = ended(infer(
        "--folder", archive, "--cluster", cluster[way], "--threads", 2, "--out", tmp_path / "out",
        "--model", tiny_bundle(),
    ))  # fmt: skip
    assert code == 0, said
    assert Counter((row["label"], row["decision"]) for row in answers(tmp_path / "out")) == {
        ("no_crack", "accepted"): 40
    }


DEADLY = """
import os, sys
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cluster import pool
from kdlight_edge.cluster.job import Job, packed
from kdlight_edge.cluster.member import Member, lost
import functools

class Deadly(Member):
    def rows(self, key):
        if key == "07.png":
            os._exit(1)  # what a fault in a decoder's C does
        return super().rows(key)

pool.Member = Deadly
folder, bundle = sys.argv[1:]
job = Job(folder, packed(open_bundle(bundle)), "auto", None, 1, bytes(32))
keys = sorted(os.listdir(folder))
with open_classifier(bundle, threads=1) as classifier, pool.joined("local", 2) as workers:
    for table in pool.answers(job, keys, workers, functools.partial(lost, classifier=classifier)):
        for row in table.to_pylist():
            print("row", row["key"], row["decision"], row["reason"], flush=True)
"""


@pytest.mark.slow
def test_a_file_that_kills_whoever_reads_it_is_a_row_of_its_own(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(16):
        cv2.imwrite(str(archive / f"{number:02}.png"), np.full((40, 40, 3), (0, 255, 0), np.uint8))
    command = [sys.executable, "-c", DEADLY, str(archive), str(tiny_bundle())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    rows = sorted(line.split(" ", 3)[1:] for line in done.stdout.splitlines() if line.startswith("row "))
    assert [row[0] for row in rows] == [f"{number:02}.png" for number in range(16)]
    assert [row for row in rows if row[1] == "error"] == [
        ["07.png", "error", "the process that read it died, each time: out of memory, or a fault in a decoder"]
    ]
