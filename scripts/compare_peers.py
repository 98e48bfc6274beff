#!/usr/bin/env python3
"""Compare a bundle's network with seven of torchvision, and YOLO11n-cls, in ONNX Runtime and OpenVINO, fp32 and INT8.

usage: scripts/compare_peers.py --model NAME.kdl [--ultralytics PYTHON] [--built FOLDER] [--rounds N] [--out FILE.json]

Batch 1, one thread; two threads for the bundle and the two fastest others. In each round every file runs a block, never
two at a time, so that whatever else the machine does meets all of them. The best engine and precision of each network
makes its ratio. The others have two classes and random weights, which do not change speed, and get normalised float
pixels; the bundle casts and normalises inside its own time. Their INT8 files come from ONNX Runtime's static quantiser
(Q/DQ, per channel, random pictures; with its
preparation and without): for speed only, nothing is said of their accuracy. The bundle's own files are
measured, so give one with INT8: `kdlight-edge export models/NAME.kdl --data DIR --target cpu --int8 on --out ...`.
YOLO11n-cls is built by ultralytics in an environment of its own, whose Python is given: its package is under the AGPL
and not among this project's. Needs kdlight-edge[train,openvino].
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
import torchvision
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from records import stamp, typed

from kdlight_devices.fingerprint import fingerprint, versions
from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.engines.onnxruntime import session_options
from kdlight_edge.golden import golden_picture
from kdlight_edge.meter import collect, warm_up
from kdlight_edge.prepare import prepare

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = (
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "squeezenet1_1",
    "efficientnet_b0", "resnet18",
)  # fmt: skip
YOLO = "yolo11n-cls"
SIZES = (224, 128)
CALIBRATION = 4
"""Random pictures that the quantiser sees."""
BLOCK = 5
"""Runs of one file before it is the next one's turn."""
PRODUCT = """
import statistics, time, numpy
a = numpy.random.default_rng(0).random((1024, 1024), dtype=numpy.float32)
times = []
for _ in range(12):
    started = time.perf_counter()
    a @ a
    times.append(time.perf_counter() - started)
print(1024**3 / statistics.median(times[2:]) / 1e9)
"""
"""Multiply-adds a second, in units of 1e9, of float32 matrix products."""

MAKE_YOLO = """
import os, pathlib, sys, ultralytics
text = next(pathlib.Path(ultralytics.__file__).parent.rglob("yolo11-cls.yaml")).read_text()
pathlib.Path("yolo11n-cls.yaml").write_text(text.replace("nc: 1000", "nc: 2"))
network = ultralytics.YOLO("yolo11n-cls.yaml")
count = sum(parameter.numel() for parameter in network.model.parameters())
os.replace(network.export(format="onnx", imgsz=int(sys.argv[1]), opset=17), sys.argv[2])
pathlib.Path(sys.argv[2]).with_suffix(".parameters").write_text(f"{count} {ultralytics.__version__}")
"""

Files = dict[str, Path]
"""Engine and precision (as in ``onnxruntime fp32``) to the file that it runs."""
Times = dict[str, dict[str, dict[str, float]]]
"""Network and size, then engine and precision, to ``p50``, and the lowest and highest median of a round (ms)."""


def main() -> int:
    """Build, measure and write the figures."""
    parser = argparse.ArgumentParser(description="Compare with other networks; see the file's own first lines.")
    parser.add_argument("--model", type=Path, required=True, metavar="NAME.kdl")
    parser.add_argument(
        "--ultralytics", type=Path, metavar="PYTHON", help="of an environment with ultralytics and onnx"
    )
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep the others' files here for the next run")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help=f"blocks of {BLOCK} runs (default 9)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "peers.json", metavar="FILE.json")
    args = parser.parse_args()
    bundle = open_bundle(args.model)
    with tempfile.TemporaryDirectory() as folder:
        built = args.built or Path(folder)
        built.mkdir(parents=True, exist_ok=True)
        names = [*NETWORKS, *([YOLO] if args.ultralytics else [])]
        files = {f"{name} {size}": build(name, size, built, args.ultralytics) for name in names for size in SIZES}
        record = compare(bundle, files, args.rounds)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for row in record["goals"]:
        print(f"{row['what']}: {row['measured']} (goal {row['goal']}: {row['verdict']})")
    return 0


def compare(bundle: Bundle, files: Mapping[str, Files], rounds: int) -> dict[str, Any]:
    """Measure everything on one thread, the closest on two, and judge the goals."""
    manifest = bundle.manifest
    ours = f"{manifest.name} {manifest.input.width}"
    every = {ours: own_files(bundle), **files}
    one, peak = in_turn(bundle, every, 1, rounds)
    best = {name: min((entry["p50"], key) for key, entry in times.items())[1] for name, times in one.items()}
    speed = {name: one[name][key]["p50"] for name, key in best.items()}
    closest = sorted(files, key=speed.__getitem__)[:2]
    two, _ = in_turn(bundle, {name: every[name] for name in [ours, *closest]}, 2, rounds)
    reached = manifest.macs / min(one[ours][key]["p50"] for key in one[ours] if key.endswith("fp32")) / 1e6
    return {
        **stamp(typed()),
        "fingerprint": fingerprint(),
        "versions": {**versions(), **versions(("torch", "torchvision", "onnx"))},
        "runs": rounds * BLOCK,
        "student": ours,
        "macs": manifest.macs,
        "parameters": {ours: manifest.parameters, **{name: parameters(name, files[name]) for name in files}},
        "gmacs_per_second": {"float32 matrix product": peak, "student fp32": reached},
        "goals": goals(ours, speed, best, reached / peak),
        "one_thread": one,
        "two_threads": two,
    }


def goals(ours: str, speed: Mapping[str, float], best: Mapping[str, str], share: float) -> list[dict[str, str]]:
    """Judge what the project promises, each network at its best."""
    size = ours.split()[1]
    following = min((name for name in speed if name != ours and name.endswith(size)), key=speed.__getitem__)
    rows = []
    for what, peer, goal in (
        ("mobilenet_v2 at 224 px", "mobilenet_v2 224", 15),
        ("mobilenet_v3_small at 224 px", "mobilenet_v3_small 224", 10),
        (f"next best at {size} px, {following.split()[0]}", following, 2),
    ):
        ratio = speed[peer] / speed[ours]
        told = f"{ratio:.1f} times faster ({best[ours]} against {best[peer]})"
        rows.append({"what": what, "measured": told, "goal": f"{goal} times", "verdict": verdict(ratio >= goal)})
    of_peak = {"what": "fp32, of a matrix product's rate on one core", "measured": f"{share:.0%}", "goal": "over 60 %"}
    return [*rows, {**of_peak, "verdict": verdict(share > 0.6)}]  # noqa: PLR2004 - the goal in the row


def verdict(reached: bool) -> str:  # noqa: FBT001 - the one thing it is asked about
    """Say it in the table's word."""
    return "reached" if reached else "missed"


def in_turn(bundle: Bundle, every: Mapping[str, Files], threads: int, rounds: int) -> tuple[Times, float]:
    """Time every file block by block; also the median rate of matrix products on one core between the rounds."""
    picture = prepare(golden_picture(1), bundle.manifest)[np.newaxis]
    runs = {
        (name, key): (run_onnxruntime if key.startswith("onnxruntime") else run_openvino)(
            file, picture if file.is_relative_to(bundle.path) else pixels(int(name.split()[1])), threads
        )
        for name, files in every.items()
        for key, file in files.items()
    }
    for run in runs.values():
        warm_up(run, limit=0.3)
    blocks: dict[tuple[str, str], list[list[float]]] = {key: [] for key in runs}
    products = []
    for _ in range(rounds):
        products.append(matrix_product())
        for which, run in runs.items():
            run()  # the caches are the last one's
            blocks[which].append(collect(run, seconds=0, samples=BLOCK))
    times: Times = {}
    for (name, key), taken in blocks.items():
        medians = [statistics.median(block) for block in taken]
        middle = statistics.median(time for block in taken for time in block)
        times.setdefault(name, {})[key] = {"p50": middle, "low": min(medians), "high": max(medians)}
    return times, statistics.median(products)


def matrix_product() -> float:
    """Return the 1e9 multiply-adds a second of one core; in a child, for BLAS reads its threads as it is loaded."""
    one = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    return float(subprocess.run([sys.executable, "-c", PRODUCT], env=one, capture_output=True, check=True).stdout)


def run_onnxruntime(file: Path, picture: Any, threads: int) -> Callable[[], object]:
    """Load a file with the runtime's own settings."""
    session = InferenceSession(str(file), sess_options=session_options(threads), providers=["CPUExecutionProvider"])
    wanted = [out.name for out in session.get_outputs() if out.name != "cam"]
    feed = {session.get_inputs()[0].name: picture}
    return lambda: session.run(wanted, feed)


def run_openvino(file: Path, picture: Any, threads: int) -> Callable[[], object]:
    """Load a file for one picture at a time, float layers in float32."""
    model = openvino.Core().read_model(file)
    model.reshape(list(picture.shape))
    settings = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.get_input_tensor().data[:] = picture
    return lambda: request.infer(share_inputs=True, share_outputs=True)


def own_files(bundle: Bundle) -> Files:
    """Return the bundle's files; OpenVINO reads its float ONNX file where it has no IR in float."""
    found = {}
    for artifact in bundle.manifest.artifacts:
        engine = "onnxruntime" if artifact.format == "onnx" else "openvino"
        precision = "int8" if ".int8." in artifact.file else "fp32"
        found[f"{engine} {precision}"] = bundle.file_of(artifact)
    found.setdefault("openvino fp32", found["onnxruntime fp32"])
    return found


def make(name: str, size: int, file: Path, ultralytics: Path | None) -> None:
    """Export a network with two classes and random weights."""
    if name == YOLO:
        command = [str(ultralytics), "-c", MAKE_YOLO, str(size), str(file.resolve())]
        subprocess.run(command, check=True, cwd=file.parent, stdout=sys.stderr)
        return
    network = torchvision.models.get_model(name, weights=None, num_classes=2).eval()
    with warnings.catch_warnings():
        # PyTorch announces its newer exporter, which needs one more package and makes the same network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network, (torch.zeros(1, 3, size, size),), file, opset_version=17, input_names=["image"], dynamo=False
        )


def build(name: str, size: int, folder: Path, ultralytics: Path | None) -> Files:
    """Make a network and quantise it as exported and as prepared, unless that was done before."""
    plain, prepared = folder / f"{name}-{size}.onnx", folder / f"{name}-{size}.prepared.onnx"
    if not prepared.exists():
        make(name, size, plain, ultralytics)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    files = dict.fromkeys(("onnxruntime fp32", "openvino fp32"), plain)
    # Preparing, as the quantiser asks for, makes some networks faster and others slower: each is given its better one.
    for source, told in ((plain, "int8"), (prepared, "int8 prepared")):
        quantised = source.with_suffix(".int8.onnx")
        if not quantised.exists():
            quantize_static(
                source, quantised, Noise(source, size), quant_format=QuantFormat.QDQ, per_channel=True,
                weight_type=QuantType.QInt8,
            )  # fmt: skip
        files |= dict.fromkeys((f"onnxruntime {told}", f"openvino {told}"), quantised)
    return files


class Noise(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Random pictures for the quantiser."""

    def __init__(self, file: Path, size: int) -> None:
        self._name = InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_inputs()[0].name
        self._left: Iterator[Any] = iter([pixels(size, seed) for seed in range(CALIBRATION)])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next picture by the name of the input."""
        picture = next(self._left, None)
        return None if picture is None else {self._name: picture}


def pixels(size: int, seed: int = 0) -> Any:
    """Return normalised noise, float32 [1, 3, size, size]."""
    return np.random.default_rng(seed).normal(0, 1, (1, 3, size, size)).astype(np.float32)


def parameters(name: str, files: Files) -> int:
    """Count a network's parameters with two classes."""
    told = files["onnxruntime fp32"].with_suffix(".parameters")
    if told.exists():
        return int(told.read_text().split()[0])
    network = torchvision.models.get_model(name.split(maxsplit=1)[0], weights=None, num_classes=2)
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    raise SystemExit(main())
