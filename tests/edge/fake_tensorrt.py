"""Gives a test a GPU and a TensorRT that are fakes, and a bundle an engine for them; answers are ONNX Runtime's."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from kdlight_edge.bundle import open_bundle, sha256_of, write_bundle
from kdlight_edge.engines import Outputs, tensorrt
from kdlight_edge.engines.tensorrt_module import Trt
from kdlight_edge.engines.tensorrt_plan import BuildPlan, Profile, to_text
from kdlight_edge.manifest import Part
from kdlight_edge.passport import SUFFIX, Here, Passport
from kdlight_edge.passport import to_text as passport_text
from tests.edge.fake_gpu import FakeDevice, fake_trt

CONTENT = b"machine code of a GPU that is not there"
HERE = Here("Fake GPU", "8.7", "tensorrt", "10.3.0", "12.6", "12.6")


@dataclass
class Gpu:
    """What the test may look at and change."""

    trt: Trt
    devices: list[FakeDevice] = field(default_factory=list)
    fails: Sequence[str] = ()

    def open_device(self) -> FakeDevice:
        """As `kdlight_edge.engines.cuda.open_device`."""
        self.devices.append(FakeDevice(self.fails))
        return self.devices[-1]


def give_gpu(monkeypatch: pytest.MonkeyPatch, path: Path, *, off: float = 0.0) -> Gpu:
    """Let this process find a GPU whose one engine answers as the bundle's ``model.onnx``, with logits ``off``."""
    session = onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])

    def answer(image: npt.NDArray[np.uint8]) -> Outputs:
        # One by one: a sum over a batch may be rounded otherwise, and graphs here must answer all sizes alike.
        rows = [session.run(["logits", "cam", "outlier"], {"image": one[np.newaxis]}) for one in image]
        logits, cam, outlier = (np.concatenate(part) for part in zip(*rows, strict=True))
        return Outputs(logits + np.float32(off), cam, outlier)

    side = open_bundle(path).manifest.input.width
    first = answer(np.zeros((1, side, side, 3), np.uint8))
    gpu = Gpu(fake_trt(lambda: gpu.devices[-1], answer, first, side, CONTENT))
    monkeypatch.setattr(tensorrt, "lack", lambda: None)
    monkeypatch.setattr(tensorrt, "open_trt", lambda: gpu.trt)
    monkeypatch.setattr(tensorrt, "open_device", gpu.open_device)
    return gpu


def add_plan(path: Path, *, engine: bool = True, **passport: Any) -> Path:
    """Let a tiny bundle prefer TensorRT; with ``engine`` it holds one, whose passport is changed as stated."""
    bundle = open_bundle(path)
    manifest, onnx = bundle.manifest, bundle.manifest.artifacts[-1]
    name = "model.tensorrt-10.3.0.sm87.engine"
    plan = BuildPlan(
        1, onnx.file, onnx.sha256, "fp32", "model", manifest.input.height, manifest.input.width, Profile(1, 1, 4),
        1 << 28, ("strongly_typed", "no_tf32"), (name,) if engine else (),
    )  # fmt: skip
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}
    text = to_text(plan).encode()
    extra: dict[str, bytes] = {}
    if engine:
        told = _passport(plan)
        extra = {name: CONTENT, name + SUFFIX: passport_text(dataclasses.replace(told, **passport)).encode()}
    parts = tuple(Part(file, sha256_of(content), len(content)) for file, content in extra.items())
    artifact = dataclasses.replace(
        onnx, file="model.tensorrt.json", format="tensorrt", sha256=sha256_of(text), bytes=len(text), parts=parts
    )
    golden = manifest.golden
    golden = dataclasses.replace(golden, logits={**golden.logits, artifact.file: golden.logits[onnx.file]})
    manifest = dataclasses.replace(manifest, artifacts=(artifact, *manifest.artifacts), golden=golden)
    write_bundle(path, manifest, {**files, artifact.file: text, **extra})
    return path


def keep_engine(file: Path, plan: BuildPlan, **passport: Any) -> None:
    """Put an engine for the fake GPU where the builder would have put it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CONTENT)
    record = dataclasses.asdict(_passport(plan))
    file.with_name(file.name + SUFFIX).write_text(json.dumps({**record, **passport}))


def _passport(plan: BuildPlan) -> Passport:
    digest = hashlib.sha256(CONTENT).hexdigest()
    here = dataclasses.asdict(HERE)
    return Passport(schema=1, flags=plan.flags, onnx_sha256=plan.onnx_sha256, engine_sha256=digest, **here)
