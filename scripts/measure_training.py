#!/usr/bin/env python3
"""Measure how many pictures a second a student and its teacher learn, by threads, number format and compiler.

usage: scripts/measure_training.py [--seconds S]     (writes docs/results/training_speed.json)

Forward, loss, backward and the optimiser's step of `small` at 128 px, and of MobileNetV2 at 160 px, on one batch of 32
random pictures, over and over: neither decoding nor augmentation nor answers. Each way has a process of its own and its
first steps are not counted. PyTorch's own gradients are those without `kdlight_train.strided`.
"""

import argparse
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
import torchvision
from records import typed, write_record

from kdlight_devices.fingerprint import versions
from kdlight_train.place import choose_place, move
from kdlight_train.strided import SpreadGradients
from kdlight_train.student import make_student

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "training_speed.json"
BATCH, SIDE, TEACHER_SIDE, CLASSES, FIRST_STEPS = 32, 128, 160, 4, 3
OWN = "PyTorch's own gradients"
WAYS = (
    "small, float32, 1 thread", "small, float32, 2 threads", "small, float32, 1 thread, torch.compile",
    "small, bfloat16, 1 thread", f"small, bfloat16, 1 thread, {OWN}",
    "MobileNetV2, float32, 1 thread", "MobileNetV2, bfloat16, 1 thread", f"MobileNetV2, bfloat16, 1 thread, {OWN}",
)  # fmt: skip


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
    write_record(RESULTS, typed(), versions=versions(("torch", "torchvision")), rows=rows)
    return 0


def rate(way: str, seconds: float) -> float:
    """Return images a second of one way, in this process."""
    torch.set_num_threads(2 if "2 threads" in way else 1)
    torch.manual_seed(0)
    student = way.startswith("small")
    made = make_student("small", CLASSES) if student else torchvision.models.mobilenet_v2(num_classes=CLASSES)
    network = move(made, choose_place("cpu")).train()
    step_of = torch.compile(network) if "torch.compile" in way else network
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    side, short = SIDE if student else TEACHER_SIDE, nullcontext() if OWN in way else SpreadGradients()
    pictures = torch.rand(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    truth = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in way), short:
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
