"""ONNX files of ours to what a bundle holds for TensorRT: a build plan, and engines built ahead of time where asked."""

import dataclasses
from collections.abc import Sequence

from kdlight_edge.bundle import Bundle, sha256_of
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Settings
from kdlight_edge.engines.tensorrt_build import build, build_here, passport
from kdlight_edge.engines.tensorrt_module import lack, open_trt
from kdlight_edge.engines.tensorrt_plan import MEBI, SCHEMA, BuildPlan, Profile, engine_name, to_text
from kdlight_edge.manifest import Artifact, Input, Part, Trial
from kdlight_edge.passport import SUFFIX
from kdlight_edge.passport import to_text as passport_text
from kdlight_export.candidates import Candidate

PROFILE = Profile(1, 1, 8)
"""A camera gives one picture at a time; folders up to eight."""

WORKSPACE = 256 * MEBI
"""Far more than layers of this size need, and little beside the 8 GB that an Orin Nano shares with its GPU."""


def tensorrt_from_onnx(sources: Sequence[Candidate], spec: Input, capabilities: Sequence[str]) -> list[Candidate]:
    """Return the TensorRT artifact of each ONNX file.

    Args:
        sources: 16-bit and symmetric Q/DQ files, settled: the artifact takes over their figures and thresholds.
        spec: the bundle's input.
        capabilities: compute capabilities, as ``8.6``, to build for ahead of time.

    Raises:
        BundleError: TensorRT does not take a file.
        UsageError: a capability that engines cannot be built for here.
        EngineNotReady: TensorRT-RTX is not installed, and engines are to be built ahead of time.
    """
    return [_artifact(source, _plan(source, spec), capabilities) for source in sources]


def _plan(source: Candidate, spec: Input) -> BuildPlan:
    onnx = source.artifact
    return BuildPlan(
        SCHEMA, onnx.file, onnx.sha256, onnx.precision, onnx.file.removesuffix(".onnx"), spec.height, spec.width,
        PROFILE, WORKSPACE, ("strongly_typed", "no_tf32"),
    )  # fmt: skip


def _artifact(source: Candidate, plan: BuildPlan, capabilities: Sequence[str]) -> Candidate:
    onnx = source.files[plan.onnx]
    files: dict[str, bytes] = {}
    for capability in capabilities:
        trt = open_trt("tensorrt_rtx")
        engine = build(trt, onnx, plan, compute_capability=capability)
        name = engine_name(plan, trt.kind, trt.version, capability)
        files[name] = engine
        files[name + SUFFIX] = passport_text(passport(trt, plan, engine, None, capability)).encode()
    plan = dataclasses.replace(plan, engines=tuple(name for name in files if not name.endswith(SUFFIX)))
    parts = tuple(Part(name, sha256_of(content), len(content)) for name, content in files.items())
    file, text = f"{plan.engine}.tensorrt.json", to_text(plan).encode()
    artifact = dataclasses.replace(
        source.artifact, file=file, format="tensorrt", sha256=sha256_of(text), bytes=len(text), parts=parts
    )
    return Candidate(artifact, {file: text, **files}, made_of=plan.onnx)


def trial_of(one: Candidate, capabilities: Sequence[str]) -> Trial:
    """Return the line of an artifact in the table: it has no figures of its own before it has met its GPU."""
    ahead = f"; TensorRT-RTX engines for {', '.join(capabilities)} are in the bundle" if capabilities else ""
    artifact = one.artifact
    return Trial(
        artifact.file, "tensorrt", "tensorrt", artifact.precision, artifact.all_bytes, kept=True,
        reason=f"plan of the engine that is built from {one.made_of} where it runs{ahead}",
    )  # fmt: skip


def told_here(bundle: Bundle, artifact: Artifact) -> str:
    """Build the engine and replay the golden pictures where there is a GPU; tell what will happen where there is none.

    Raises:
        ParityError: the engine answers differently from its ONNX file.
    """
    missing = lack()
    if missing is not None:
        return (
            f"{artifact.file}: no engine is built on this machine ({missing}); the board builds it at its first start, "
            "in the background, while ONNX Runtime answers"
        )
    from kdlight_edge.engines import load
    from kdlight_edge.engines.cuda import open_device, this_machine

    trt = open_trt()
    with open_device() as device:
        file = build_here(bundle, artifact, trt, this_machine(trt, device))
    with Classifier(bundle, load(bundle, artifact, engine="tensorrt"), Settings()) as classifier:
        difference = classifier.verify()
    return f"golden pictures of {artifact.file} on {trt.kind} ({file.name}): max |Δlogit| {difference:.2g}"
