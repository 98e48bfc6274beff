"""What ONNX Runtime executes, from its own profile: the optimised graph with the types and shapes that it met."""

import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines.onnxruntime import SHORT, check_graph, session_options
from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.golden import golden_picture
from kdlight_edge.layers import PRECISIONS, RUNS, Layer
from kdlight_edge.manifest import Artifact
from kdlight_edge.prepare import prepare

WEIGHT = {
    "Conv": 1, "FusedConv": 1, "MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1, "QLinearConv": 3,
    "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip
"""Operator to the place of its weights among its inputs, where it multiplies by any."""

SIZES = {"float": 4, "float16": 2, "int8": 1, "uint8": 1, "int32": 4, "int64": 8}

_TAIL = "_kernel_time"

Event = dict[str, Any]


def layers(bundle: Bundle, artifact: Artifact, *, threads: int = 1) -> list[Layer]:
    """Run golden pictures under the profiler.

    Twice: as served, for the times; and without packing weights ahead, which hides them from the profile.
    """
    batch = prepare(golden_picture(1), bundle.manifest)[np.newaxis]
    timed = _profile(bundle, artifact, batch, threads=threads, runs=RUNS, packed=True)
    (shaped,) = _profile(bundle, artifact, batch, threads=threads, runs=1, packed=False)
    middle = [statistics.median(event["dur"] for event in events) for events in zip(*timed, strict=True)]
    return [_layer(event, microseconds) for event, microseconds in zip(shaped, middle, strict=True)]


def _profile(
    bundle: Bundle, artifact: Artifact, batch: "np.ndarray[Any, Any]", *, threads: int, runs: int, packed: bool
) -> list[list[Event]]:
    """Return the events of each run, in order."""
    options = session_options(threads)
    options.enable_profiling = True
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory(prefix="kdlight-layers-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(
                str(bundle.file_of(artifact)), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # As in the engine: a family of types without a common parent below Exception.
            reason = str(error).splitlines()[0]
            raise BundleError(f"ONNX Runtime does not take {artifact.file}: {reason}") from error
        check_graph(session, bundle, artifact)
        for _ in range(runs + 1):
            session.run(SHORT, {"image": batch})
        file = Path(session.end_profiling())
        try:
            events = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            # ONNX Runtime writes on where the disk is full, and says nothing.
            raise KDLightError(
                f"ONNX Runtime's profile {file} is cut short; make room there or point TMPDIR elsewhere"
            ) from error
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_TAIL)]
    count = len(kernels) // (runs + 1)
    # The first run pays for memory and pages, and is left out.
    return [kernels[count * run : count * (run + 1)] for run in range(1, runs + 1)]


def _layer(event: Event, microseconds: float) -> Layer:
    told = event["args"]
    inputs = [next(iter(entry.items())) for entry in told["input_type_shape"]]
    kind = told["op_name"]
    first = inputs[0][0] if inputs else ""
    place = WEIGHT.get(kind, len(inputs))
    macs = size = 0
    if place < len(inputs):
        weight, output = inputs[place][1], next(iter(told["output_type_shape"][0].values()))
        macs = math.prod(output) * (math.prod(weight[1:]) if "Conv" in kind else weight[0])
        size = sum(math.prod(shape) * SIZES.get(type_, 4) for type_, shape in inputs[place:])
    name = event["name"].removesuffix(_TAIL).partition("_token_")[0].removesuffix("_nchwc")
    return Layer(name, kind, PRECISIONS.get(first, first), size, macs, float(microseconds))
