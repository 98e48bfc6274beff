"""An ONNX file to a TensorRT engine, by one path for TensorRT 10.3, 11 and RTX: strongly typed, explicit Q/DQ.

The precision of every layer stands in the ONNX file. TensorRT 11 knows no precision flags and no calibrators any more,
and TensorRT 10.3 does not need them, so none are used.

``python -m kdlight_edge.engines.tensorrt_build NAME.kdl FILE`` builds for the GPU of this machine into the cache; the
runtime starts that in the background.
"""

import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdlight_edge.bundle import Bundle, open_bundle
from kdlight_edge.engines.tensorrt_module import Trt, last_error, open_trt
from kdlight_edge.engines.tensorrt_plan import BuildPlan, cached_engine, read_plan, timing_cache, write_whole
from kdlight_edge.errors import BundleError, EngineNotReady, KDLightError, UsageError
from kdlight_edge.manifest import Artifact
from kdlight_edge.passport import SCHEMA, Here, Passport, passport_of, to_text

INPUT, OUTPUTS = "image", {"logits", "cam", "outlier"}


def build(trt: Trt, onnx: bytes, plan: BuildPlan, *, compute_capability: str | None = None) -> bytes:
    """Build an engine.

    Args:
        trt: from `open_trt`.
        onnx: the plan's ONNX file.
        plan: shapes, workspace and options.
        compute_capability: build ahead of time for this one, for instance ``8.6`` (TensorRT-RTX only); None builds for
            the GPU of this machine.

    Raises:
        BundleError: TensorRT does not take the ONNX file; the line holds the parser's own reason.
        UsageError: the compute capability is not one that engines can be built for here.
        EngineNotReady: the builder failed: no GPU, or no memory.
    """
    return _build(trt, onnx, plan, compute_capability, b"")[0]


class Parsed(NamedTuple):
    """A network as TensorRT understands an ONNX file; it lives as long as what it was made with."""

    network: Any
    builder: Any
    parser: Any


def parse(trt: Trt, onnx: bytes, plan: BuildPlan) -> Parsed:
    """Read an ONNX file of ours; needs no GPU.

    Raises:
        BundleError: TensorRT does not take it, or it is not ours.
        EngineNotReady: this TensorRT has no builder here.
    """
    trt.said.clear()
    builder = trt.api.Builder(trt.logger)
    if builder is None:
        raise EngineNotReady(f"{_named(trt)} has no builder here: {last_error(trt)}")
    network = builder.create_network(_strongly_typed(trt.api))
    parser = trt.api.OnnxParser(network, trt.logger)
    if not parser.parse(onnx):
        raise BundleError(f"{_named(trt)} does not take {plan.onnx}: {_parser_error(parser)}")
    _check_graph(network, plan)
    return Parsed(network, builder, parser)


def _build(trt: Trt, onnx: bytes, plan: BuildPlan, capability: str | None, kept: bytes) -> tuple[bytes, bytes]:
    """As `build`, with the content of a timing cache, empty where there is none; returns the cache's new one too."""
    parsed = parse(trt, onnx, plan)
    network, builder = parsed.network, parsed.builder
    config = _config(trt, builder, plan)
    timing = _timing(trt, config, kept)
    _aim(trt, config, capability)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineNotReady(f"{_named(trt)} could not build {plan.onnx}: {last_error(trt)}")
    return bytes(serialized), b"" if timing is None else bytes(timing.serialize())


def _check_graph(network: Any, plan: BuildPlan) -> None:
    """Refuse an ONNX file that is not ours before minutes are spent on it."""
    inputs = {network.get_input(i).name: tuple(network.get_input(i).shape) for i in range(network.num_inputs)}
    outputs = {network.get_output(i).name for i in range(network.num_outputs)}
    if inputs != {INPUT: (-1, plan.height, plan.width, 3)} or outputs != OUTPUTS:
        raise BundleError(
            f"{plan.onnx} has inputs {inputs} and outputs {sorted(outputs)}, not image [N, {plan.height}, "
            f"{plan.width}, 3] -> logits, cam, outlier; export the bundle again"
        )


def _named(trt: Trt) -> str:
    return f"{'TensorRT-RTX' if trt.kind == 'tensorrt_rtx' else 'TensorRT'} {trt.version}"


def _strongly_typed(api: Any) -> int:
    """Return the flags of a network; TensorRT 8 and 9 have none for this, and are not served."""
    flag = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if flag is None:
        raise EngineNotReady(f"TensorRT {api.__version__} knows no strongly typed networks; 10.3 or newer is needed")
    return 1 << int(flag)


def _config(trt: Trt, builder: Any, plan: BuildPlan) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.api.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    # What `inspect` reads out of the engine: without it layers have names only.
    config.profiling_verbosity = trt.api.ProfilingVerbosity.DETAILED
    if "no_tf32" in plan.options:
        config.clear_flag(trt.api.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    sizes = plan.profile.least, plan.profile.best, plan.profile.most
    profile.set_shape(INPUT, *((n, plan.height, plan.width, 3) for n in sizes))
    config.add_optimization_profile(profile)
    return config


def _timing(trt: Trt, config: Any, kept: bytes) -> Any:
    """Give the builder its memory of timings; None where it has none, as in TensorRT-RTX, which times nothing."""
    if trt.kind == "tensorrt_rtx":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cache = config.create_timing_cache(kept)
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _aim(trt: Trt, config: Any, capability: str | None) -> None:
    """Choose the GPU: the one that is here, or one of a compute capability."""
    if capability is None:
        if trt.kind == "tensorrt_rtx":  # which would otherwise build for every GPU at once
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.api.ComputeCapability.CURRENT, 0)
        return
    check_capability(trt, capability)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.api.ComputeCapability, f"SM{capability.replace('.', '')}"), 0)


def check_capability(trt: Trt, capability: str) -> None:
    """Refuse a compute capability that engines cannot be built for here.

    Raises:
        UsageError: naming those that they can be built for.
    """
    known = capabilities(trt)
    if capability not in known:
        raise UsageError(
            f"--compute-capability {capability or repr('')}: {_named(trt)} builds ahead of time for "
            f"{', '.join(known) or 'no GPU but the one that is there'}"
        )


def capabilities(trt: Trt) -> tuple[str, ...]:
    """Return the compute capabilities that engines can be built for without a GPU; none with TensorRT itself."""
    kinds = getattr(trt.api, "ComputeCapability", None)
    names = [] if kinds is None else [name[2:] for name in kinds.__members__ if name.startswith("SM")]
    return tuple(f"{name[:-1]}.{name[-1]}" for name in names)


def _parser_error(parser: Any) -> str:
    """Return the parser's first complaint in one line: what, and which node of the file."""
    if parser.num_errors == 0:
        return "no reason was given"
    error = parser.get_error(0)
    told = " ".join(error.desc().split())
    operator, name = _of_error(error, "node_operator"), _of_error(error, "node_name")
    where = f" (node {name or error.node()}: {operator})" if operator else ""
    return told + where


def _of_error(error: Any, what: str) -> str:
    found = getattr(error, what, None)
    return str(found()) if found is not None else ""


def passport(trt: Trt, plan: BuildPlan, engine: bytes, here: Here | None, compute_capability: str) -> Passport:
    """Return the passport of an engine; without ``here`` it was built ahead of time, on a machine without that GPU."""
    gpu, cuda, driver = (None, None, None) if here is None else (here.gpu, here.cuda, here.driver)
    digest = hashlib.sha256(engine).hexdigest()
    return Passport(
        SCHEMA, gpu, compute_capability, trt.kind, trt.version, cuda, driver, plan.flags, plan.onnx_sha256, digest
    )


def build_here(bundle: Bundle, artifact: Artifact, trt: Trt, here: Here) -> Path:
    """Build an artifact's engine for this machine's GPU and keep it in the cache, with its passport.

    Returns:
        The engine's file.

    Raises:
        BundleError: see `read_plan` and `build`.
        EngineNotReady: see `build`.
        KDLightError: the cache cannot be written.
    """
    plan = read_plan(bundle, artifact)
    onnx = (bundle.path / plan.onnx).read_bytes()
    memory = timing_cache(here)
    kept = memory.read_bytes() if memory.is_file() else b""
    engine, timings = _build(trt, onnx, plan, None, kept)
    file = cached_engine(plan, here)
    # The passport goes first and comes last: an engine is never beside the passport of another.
    passport_of(file).unlink(missing_ok=True)
    write_whole(file, engine)
    write_whole(passport_of(file), to_text(passport(trt, plan, engine, here, here.compute_capability)).encode())
    if timings and timings != kept:
        write_whole(memory, timings)
    return file


def _asked(words: Sequence[str]) -> tuple[Bundle, Artifact]:
    """Return the bundle and the artifact that the command line names."""
    if len(words) != len(("NAME.kdl", "FILE")):
        raise UsageError("usage: python -m kdlight_edge.engines.tensorrt_build NAME.kdl FILE.tensorrt.json")
    bundle = open_bundle(words[0])
    plans = {one.file: one for one in bundle.manifest.artifacts if one.format == "tensorrt"}
    if words[1] not in plans:
        raise UsageError(f"{bundle.path} has no build plan {words[1]}; its plans: {', '.join(plans) or 'none'}")
    return bundle, plans[words[1]]


def main() -> int:
    """Build one artifact of a bundle for this machine; prints the engine's file, or says in one line why not."""
    from kdlight_edge.engines.cuda import open_device, this_machine

    os.nice(10)  # cameras are being answered meanwhile
    try:
        bundle, artifact = _asked(sys.argv[1:])
        trt = open_trt()
        with open_device() as device:
            print(build_here(bundle, artifact, trt, this_machine(trt, device)))  # noqa: T201 - this is a program
    except KDLightError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as above
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
