#!/usr/bin/env python3
"""Prove and measure a bundle's TensorRT engines on the GPU of this machine, in one go, and write what was found.

Builds each engine, replays the golden pictures on it, and times passes of 1 and 8 pictures: copies in and excluded,
CUDA graphs on and off, beside ONNX Runtime's CUDA provider and, with --run, PyTorch, where those are installed.
Clocks are recorded as they are and not touched: lock them before (a Jetson: ``nvpmodel -m 0 && jetson_clocks``).
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kdlight_devices.fingerprint import fingerprint, versions
from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines import tensorrt
from kdlight_edge.engines.cuda import open_device, this_machine
from kdlight_edge.engines.tensorrt_build import build_here
from kdlight_edge.engines.tensorrt_module import lack, open_trt
from kdlight_edge.errors import BundleError, EngineNotReady, KDLightError
from kdlight_edge.manifest import Artifact
from kdlight_edge.passport import Here, read_passport

BATCHES = (1, 8)
WARM = 200
"""Passes before the first that counts: clocks of a GPU rise only under load."""


def main(given: list[str] | None = None) -> int:
    """Prove, measure and write; the exit code is that of the first thing that went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="NAME.kdl", help="exported with --target jetson, for INT8 too with --int8 on")
    parser.add_argument("--run", type=Path, metavar="RUN", help="the training, to measure its student in PyTorch too")
    parser.add_argument("--passes", type=int, default=2000, metavar="N", help="timed passes of each kind (2000)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/tensorrt.json"), metavar="FILE")
    args = parser.parse_args(given)
    try:
        record = prove(open_bundle(args.model), args.run, args.passes)
    except KDLightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(args.out)
    return 0


def prove(bundle: Bundle, run: Path | None, passes: int) -> dict[str, Any]:
    """Return everything that was found, as plain JSON types.

    Raises:
        EngineNotReady: there is no GPU, or no TensorRT.
        ParityError: an engine answers differently from its ONNX file.
    """
    missing = lack()
    if missing is not None:
        raise EngineNotReady(f"nothing can be proved here: tensorrt {missing}")
    plans = [one for one in bundle.manifest.artifacts if one.format == "tensorrt"]
    if not plans:
        raise BundleError(f"{bundle.path} holds nothing for TensorRT; kdlight-edge export --target jetson makes it")
    trt = open_trt()
    with open_device() as device:
        here, adapter = this_machine(trt, device), device.adapter
        found = {one.file: _built(bundle, one, trt, here) for one in plans}
    for one in plans:
        found[one.file] |= _engine(bundle, one, passes)
    spec = bundle.manifest.input
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/prove_tensorrt.py", *sys.argv[1:]]),
        "machine": fingerprint(),
        "versions": versions(),
        "gpu": {"name": here.gpu, "compute_capability": here.compute_capability, "cuda": here.cuda},
        "tensorrt": {"kind": here.kind, "version": here.version, "driver": here.driver, "adapter": adapter},
        "clocks": _clocks(),
        "bundle": {"name": bundle.manifest.name, "digest": bundle.manifest.digest, "input": [spec.width, spec.height]},
        "engines": found,
        "onnxruntime_cuda": _onnxruntime(bundle, passes),
        "torch_cuda": _torch(run, (spec.height, spec.width), passes),
    }


def _built(bundle: Bundle, artifact: Artifact, trt: Any, here: Here) -> dict[str, Any]:
    print(f"building {artifact.file}", file=sys.stderr)
    started = time.perf_counter()
    file = build_here(bundle, artifact, trt, here)
    return {
        "precision": artifact.precision,
        "build_seconds": round(time.perf_counter() - started, 2),
        "bytes": file.stat().st_size,
        "flags": list(read_passport(file).flags),
    }


def _engine(bundle: Bundle, artifact: Artifact, passes: int) -> dict[str, Any]:
    """Replay the golden pictures and time every kind of pass."""
    rows = []
    for graphs in (True, False):
        with Classifier(bundle, tensorrt.load(bundle, artifact, graphs=graphs), Settings()) as classifier:
            difference = classifier.verify()
            engine: Any = classifier.engine
            for n in BATCHES:
                for copies in (True, False):
                    print(f"{artifact.file}: {n} pictures, graphs {graphs}, copies {copies}", file=sys.stderr)
                    engine.times(n, WARM, copies=copies)
                    taken = engine.times(n, passes, copies=copies)
                    rows.append({"batch": n, "cuda_graph": graphs, "copies": copies, **_summary(taken)})
                batch = np.zeros((n, *_side(bundle), 3), np.uint8)
                whole = _timed(partial(engine.run, batch), passes)
                rows.append({"batch": n, "cuda_graph": graphs, "copies": True, "from_python": True, **whole})
    return {"golden_max_logit_difference": difference, "passes": rows}


def _onnxruntime(bundle: Bundle, passes: int) -> dict[str, Any] | str:
    """Time the float and the 16-bit file on ONNX Runtime's CUDA provider, copies in and excluded."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "not measured: this onnxruntime has no CUDA provider"
    found = {}
    for one in bundle.manifest.artifacts:
        if one.format != "onnx" or one.precision == "int8":
            continue
        session = onnxruntime.InferenceSession(bundle.file_of(one), providers=["CUDAExecutionProvider"])
        rows = []
        for n in BATCHES:
            batch = np.zeros((n, *_side(bundle), 3), np.uint8)
            bound = session.io_binding()
            bound.bind_ortvalue_input("image", onnxruntime.OrtValue.ortvalue_from_numpy(batch, "cuda", 0))
            for name in ("logits", "outlier"):
                bound.bind_output(name, "cuda")
            with_copies = _timed(partial(session.run, ["logits", "outlier"], {"image": batch}), passes)
            without = _timed(partial(session.run_with_iobinding, bound), passes)
            rows += [{"batch": n, "copies": True, **with_copies}, {"batch": n, "copies": False, **without}]
        found[one.file] = rows
    return found


def _torch(run: Path | None, side: tuple[int, int], passes: int) -> list[dict[str, Any]] | str:
    """Time the student itself in 16 bits, channels last, copies in and excluded."""
    if run is None:
        return "not measured: no --run"
    import torch

    from kdlight_train import finished
    from kdlight_train.student import PIXEL_SCALE

    if not torch.cuda.is_available():
        return f"not measured: PyTorch {torch.__version__} sees no GPU"
    network = finished.load(run).network().cuda().half().to(memory_format=torch.channels_last)

    def answer(image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = network(image.permute(0, 3, 1, 2).half() * PIXEL_SCALE)
        return result

    def alone(image: torch.Tensor) -> None:
        answer(image)
        torch.cuda.synchronize()

    def carried(host: torch.Tensor) -> None:
        answer(host.cuda()).cpu()

    rows = []
    with torch.inference_mode():
        for n in BATCHES:
            host = torch.zeros((n, *side, 3), dtype=torch.uint8).pin_memory()
            image = host.cuda()
            rows.append({"batch": n, "copies": True, **_timed(partial(carried, host), passes)})
            rows.append({"batch": n, "copies": False, **_timed(partial(alone, image), passes)})
    return rows


def _timed(call: Callable[[], object], passes: int) -> dict[str, Any]:
    for _ in range(WARM):
        call()
    taken = []
    for _ in range(passes):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1000)
    return _summary(taken)


def _summary(taken: list[float]) -> dict[str, Any]:
    p50, p99 = (round(float(np.percentile(taken, q)), 4) for q in (50, 99))
    return {"p50_ms": p50, "p99_ms": p99, "n": len(taken)}


def _side(bundle: Bundle) -> tuple[int, int]:
    return bundle.manifest.input.height, bundle.manifest.input.width


def _clocks() -> dict[str, str]:
    """Return what the board says about its power mode and clocks."""
    commands = (
        ["nvpmodel", "-q"],
        ["jetson_clocks", "--show"],
        ["nvidia-smi", "--query-gpu=pstate,clocks.sm,clocks.mem,power.limit", "--format=csv,noheader"],
    )
    return {
        shlex.join(command): subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        for command in commands
        if shutil.which(command[0])
    }


if __name__ == "__main__":
    sys.exit(main())
