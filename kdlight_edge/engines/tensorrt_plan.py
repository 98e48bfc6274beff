"""What a bundle holds for TensorRT: a build plan, a JSON file that says which engine is to be built from which ONNX."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kdlight_edge.bundle import Bundle
from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.manifest import Artifact
from kdlight_edge.passport import Here
from kdlight_edge.plain import home_of
from kdlight_edge.strict import Reader

SCHEMA = 1

READER = Reader("build plan", BundleError, "export the bundle again")

MEBI = 1 << 20

CACHE, ENGINES = "cache", "engines"
"""Folders: of what can be made again inside a service's state, and of engines inside that."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Pictures a pass that the engine must take."""

    least: int
    best: int
    """The engine is tuned for this many."""
    most: int


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """How an engine is to be built; precision is in the ONNX file, so nothing about it is left to the builder."""

    schema: int
    onnx: str
    """File of the bundle."""
    onnx_sha256: str
    precision: Literal["fp32", "fp16", "int8"]
    engine: str
    """Stem of the engine's file name; what tells machines apart is appended, see `engine_name`."""
    height: int
    width: int
    profile: Profile
    workspace_bytes: int
    """Most memory that a layer may take while it works."""
    options: tuple[Literal["strongly_typed", "no_tf32"], ...]
    """``strongly_typed``: every layer runs in the type that the ONNX file gives it. ``no_tf32``: float layers keep the
    24 bits of float32."""
    engines: tuple[str, ...] = ()
    """Files of the bundle with engines that were built ahead of time, each with its passport beside it."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Everything that changes the engine, for its passport."""
        batch = f"batch {self.profile.least}/{self.profile.best}/{self.profile.most}"
        return (*self.options, batch, f"workspace {self.workspace_bytes // MEBI} MiB")


def to_text(plan: BuildPlan) -> str:
    """Return the plan as JSON."""
    return json.dumps(dataclasses.asdict(plan), indent=1) + "\n"


def read_plan(bundle: Bundle, artifact: Artifact) -> BuildPlan:
    """Read the plan of an artifact of format ``tensorrt``.

    Raises:
        BundleError: it is no plan, or names an ONNX file that the bundle has not.
    """
    try:
        record = json.loads(bundle.file_of(artifact).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{artifact.file} is no build plan for TensorRT ({error}); export the bundle again"
        ) from error
    plan = READER.record(BuildPlan, record)
    if plan.schema != SCHEMA:
        raise BundleError(f"{artifact.file} has schema {plan.schema}, this program reads {SCHEMA}; export again")
    known = {entry.file: entry.sha256 for entry in bundle.manifest.artifacts}
    known |= {part.file: part.sha256 for part in artifact.parts}
    if known.get(plan.onnx) != plan.onnx_sha256:
        raise BundleError(f"{artifact.file} is for another {plan.onnx} than the bundle holds; export the bundle again")
    absent = [name for name in plan.engines if name not in known]
    if absent:
        raise BundleError(f"{artifact.file} names {absent[0]}, which the bundle has not; export the bundle again")
    return plan


def engine_name(plan: BuildPlan, kind: str, version: str, compute_capability: str) -> str:
    """Return the file name of an engine, for instance ``student.fp16.tensorrt-10.3.0.sm87.engine``."""
    return f"{plan.engine}.{kind}-{version}.sm{compute_capability.replace('.', '')}.engine"


def cached_engine(plan: BuildPlan, here: Here) -> Path:
    """Return where the engine that this machine builds is kept: never inside the sealed bundle."""
    name = engine_name(plan, here.kind, here.version, here.compute_capability)
    return cache_folder() / ENGINES / _of_onnx(plan.onnx_sha256) / name


def prune_engines(state: Path, kept: AbstractSet[str]) -> None:
    """Remove engines that a service built of ONNX files which are gone; one that cannot be removed stays.

    Args:
        state: the service's state folder. Its cache alone is looked at: any other may serve bundles that are not there.
        kept: SHA-256 of the ONNX files whose engines stay, in hex.
    """
    names = {_of_onnx(sha256) for sha256 in kept}
    with contextlib.suppress(OSError):
        for folder in (state / CACHE / ENGINES).iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)


def _of_onnx(sha256: str) -> str:
    """Return the name of the folder that holds the engines of an ONNX file."""
    return sha256[:16]


def timing_cache(here: Here) -> Path:
    """Return where the builder keeps which kernels were fastest: the second bundle of a board is built much sooner."""
    capability = here.compute_capability.replace(".", "")
    return cache_folder() / f"timing.{here.kind}-{here.version}.sm{capability}.cache"


def cache_folder() -> Path:
    """Return where this program may keep what it can make again: systemd's folders, then XDG's."""
    if cache := os.environ.get("CACHE_DIRECTORY"):
        return Path(cache.split(":")[0])
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0]) / CACHE
    home = os.environ.get("XDG_CACHE_HOME") or home_of("XDG_CACHE_HOME") / ".cache"
    return Path(home) / "kdlight-edge"


def write_whole(file: Path, content: bytes) -> None:
    """Write beside the place and move there, so that half a file is never found under the name.

    Raises:
        KDLightError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with open(handle, "wb") as stream:  # noqa: PTH123 - the handle is what was made
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(beside).replace(file)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KDLightError(
            f"{file} cannot be written ({error.strerror}); make room there or point XDG_CACHE_HOME elsewhere"
        ) from error
