#!/usr/bin/env python3
"""Compare a bundle's network with torchvision's MobileNetV2 at 224 px in the same engine, run by run in turn.

usage: scripts/compare_networks.py [--model NAME.kdl] [--teacher NAME] [--rounds N] [--out FILE.json]

Both run in ONNX Runtime with the same settings, batch 1, on prepared pictures: the bundle's at its own input size, as
`kdlight-edge infer` runs it; MobileNetV2 (two classes, random weights, which do not change speed, batch norms folded)
on float pixels that are already normalised, so its casting and normalising are not counted. Blocks of 50 runs of each
take turns, so that whatever else the machine does meets both. Needs kdlight-edge[train].
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
import torchvision
from records import typed, write_record

from kdlight_devices.fingerprint import fingerprint, versions
from kdlight_edge.bundle import open_bundle
from kdlight_edge.engines import open_engine
from kdlight_edge.golden import golden_picture
from kdlight_edge.meter import collect, summary, warm_up
from kdlight_edge.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 50
"""Runs of one network before it is the other's turn."""


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description="Compare with MobileNetV2; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--teacher", default="mobilenet_v2", metavar="NAME", help="any torchvision classifier")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="blocks of 50 runs of each (default 20)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "networks.json", metavar="FILE.json")
    args = parser.parse_args()
    bundle = open_bundle(args.model)
    content, parameters = teacher_onnx(args.teacher)
    threads = {str(count): in_turn(args, content, count) for count in (1, 2)}
    record = write_record(
        args.out,
        typed(),
        peer=f"{args.teacher} at 224 px",
        rows=rows(threads),
        fingerprint=fingerprint(),
        versions={**versions(), **versions(("torch", "torchvision", "onnx"))},
        student={
            "bundle": bundle.manifest.name,
            "parameters": bundle.manifest.parameters,
            "bytes": bundle.manifest.artifacts[0].bytes,
            "input": [bundle.manifest.input.width, bundle.manifest.input.height],
        },
        teacher={"name": args.teacher, "parameters": parameters, "bytes": len(content), "input": [224, 224]},
        threads=threads,
    )
    tell(record)
    return 0


def in_turn(args: argparse.Namespace, content: bytes, threads: int) -> dict[str, Any]:
    """Time both networks block by block; the ratio is that of the medians."""
    bundle = open_bundle(args.model)
    batch = prepare(golden_picture(1), bundle.manifest)[np.newaxis]
    pixels = np.random.default_rng(0).normal(0, 1, (1, 3, 224, 224)).astype(np.float32)
    session = onnxruntime.InferenceSession(content, sess_options=options(threads), providers=["CPUExecutionProvider"])
    with open_engine(bundle, engine="onnxruntime", threads=threads) as engine:
        runs: dict[str, Callable[[], object]] = {
            "student": lambda: engine.run(batch),
            "teacher": lambda: session.run(None, {session.get_inputs()[0].name: pixels}),
        }
        samples: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            warm_up(run, limit=5.0)
        for _ in range(args.rounds):
            for name, run in runs.items():
                samples[name] += collect(run, seconds=0, samples=BLOCK)
    found: dict[str, Any] = {name: summary(times) for name, times in samples.items()}
    return {**found, "times_faster": found["teacher"]["p50"] / found["student"]["p50"]}


def rows(threads: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Put the medians side by side."""
    return [
        {
            "what": f"one picture, {count} thread{'s' * (count != '1')}, median",
            "ours": f"{found['student']['p50']:.2f} ms",
            "peer": f"{found['teacher']['p50']:.2f} ms",
            "ratio": f"{found['times_faster']:.1f} times faster",
        }
        for count, found in threads.items()
    ]


def options(threads: int) -> Any:
    """Return the settings that kdlight_edge.engines.onnxruntime has."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def teacher_onnx(name: str) -> tuple[bytes, int]:
    """Return a torchvision classifier for two classes as an ONNX file, and its number of parameters."""
    network = torchvision.models.get_model(name, weights=None, num_classes=2).eval()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "teacher.onnx")
        # PyTorch announces its newer exporter, which needs one more package and makes the same network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), file, opset_version=17, dynamo=False)
        content = file.read_bytes()
    return content, sum(parameter.numel() for parameter in network.parameters())


def tell(record: dict[str, Any]) -> None:
    """Print a table for people."""
    print(f"{'':<10}{'network':<24}{'input':>10}{'parameters':>12}{'MB':>7}{'p50 ms':>9}{'p90 ms':>9}")
    for threads, found in record["threads"].items():
        for role in ("student", "teacher"):
            told = record[role]
            row = f"{told.get('bundle') or told['name']:<24}{told['input'][0]:>6} px {told['parameters']:>12,}"
            times = f"{found[role]['p50']:>9.3f}{found[role]['p90']:>9.3f}"
            print(f"{threads + ' thread':<10}{row}{told['bytes'] / 1e6:>7.2f}{times}")
        print(f"{'':<10}{found['times_faster']:.1f} times faster")


if __name__ == "__main__":
    raise SystemExit(main())
