#!/usr/bin/env python3
"""Measure how many pictures a second a student learns, by threads, number format and compiler.

usage: scripts/measure_training.py [--seconds S]     (writes docs/results/training_speed.json)

Forward, loss, backward and the optimiser's step of `small` on one batch of 32 random pictures at 128 px, over and over:
neither decoding nor augmentation nor a teacher. Each way has a process of its own and its first steps are not counted.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F

from kdlight_devices.fingerprint import describe, fingerprint, versions
from kdlight_train.place import choose_place, move
from kdlight_train.student import make_student

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "training_speed.json"
BATCH, SIDE, CLASSES, FIRST_STEPS = 32, 128, 4, 3
WAYS = ("float32, 1 thread", "float32, 2 threads", "bfloat16, 1 thread", "float32, 1 thread, torch.compile")


def main() -> int:
    """Measure every way and write."""
    parser = argparse.ArgumentParser(description="Measure training speed; see the file's own first lines.")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="time for each way (default 8)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(rate(args.way, args.seconds))
        return 0
    rows = []
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--seconds", str(args.seconds)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append({"what": way, "value": f"{float(said):.0f} images/s", "goal": ""})
        print(way, rows[-1]["value"], sep=": ")
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "scripts/measure_training.py",
        "machine": describe(fingerprint()),
        "versions": versions(("torch",)),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def rate(way: str, seconds: float) -> float:
    """Return images a second of one way, in this process."""
    torch.set_num_threads(2 if "2 threads" in way else 1)
    torch.manual_seed(0)
    network = move(make_student("small", CLASSES), choose_place("cpu")).train()
    step_of = torch.compile(network) if "torch.compile" in way else network
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    pictures = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    truth = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in way):
            logits = step_of(pictures)
        torch.autograd.backward(F.cross_entropy(logits.float(), truth))
        optimiser.step()

    for _ in range(FIRST_STEPS):
        step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    raise SystemExit(main())
