"""Kill -9 at random moments on runs with a file, an audit and a broker, over and over; then all of it is read back."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.chain import verify
from kdlight_edge.selftest.broker import Broker
from kdlight_edge.sinks.lines import append_lines
from tests.waiting import LIMIT, until

pytest.importorskip("paho", reason="the extra mqtt is not installed")

KILLS = int(os.environ.get("KDLIGHT_KILLS", "50"))


def result(record: dict[str, Any]) -> tuple[str, int]:
    """Return what tells a result from every other of all runs."""
    return record["captured"], record["index"]


def whole(text: str) -> list[dict[str, Any]]:
    """Return the records of whole lines; the last may have been torn by the kill."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def running(child: "subprocess.Popen[bytes]", audit: Path) -> None:
    """Wait until a run has begun to write."""
    before = audit.stat().st_size if audit.exists() else 0
    until(lambda: child.poll() is not None or (audit.exists() and audit.stat().st_size > before), "a line in the audit")
    assert child.poll() is None


def test_fifty_kills_at_random_moments_tear_no_line_and_lose_nothing_acknowledged(
    tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    dice, broker = random.Random(9), Broker()
    lines, audit = tmp_path / "lines.jsonl", tmp_path / "audit.jsonl"
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "scene:crack?size=64x64&fps=100", "--json",
        "--model", str(tiny_bundle()), "--json-file", str(lines), "--audit", str(audit), "--mqtt-device", "wall",
        "--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-store", str(tmp_path / "store.sqlite"),
    ]  # fmt: skip
    told: list[tuple[str, int]] = []
    for kill in range(KILLS):
        out = tmp_path / "out"
        with out.open("w") as stdout, subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL) as child:
            if kill % 3:  # every third wherever it is by then, in its start too
                running(child, audit)
            time.sleep(dice.uniform(0.0, 0.5))
            child.send_signal(signal.SIGKILL)
            assert child.wait(LIMIT) == -signal.SIGKILL
        told += map(result, whole(out.read_text()))
    done = subprocess.run([*command, "--frames", "5"], capture_output=True, text=True, timeout=LIMIT, check=True)
    told += map(result, whole(done.stdout))
    broker.stop()

    arrived = broker.once()
    numbers = [int(record["id"].rpartition("-")[2]) for record in arrived]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({result(record) for record in arrived}) == len(arrived)
    assert set(told) <= {result(record) for record in arrived}
    kept = [result(json.loads(line)) for line in lines.read_text().splitlines()]
    assert len(set(kept)) == len(kept)
    assert kept == sorted(kept)
    # A kill may fall between two sinks: what it caught there is in the one that wrote first, and nobody was told of it.
    caught = set(kept) - {result(record) for record in arrived}
    assert len(caught) <= KILLS
    assert not caught & set(told)
    assert verify(audit, b"").fault == ""
    sealed = [json.loads(line)["record"] for line in audit.read_text().splitlines()]
    assert sum(record.get("event") == "begin" for record in sealed) > KILLS // 4
    assert set(told) <= {result(record) for record in sealed if "captured" in record}
    assert len(told) > KILLS
    append_lines(lines, at_once=True)[0].close()  # nobody holds it any more
