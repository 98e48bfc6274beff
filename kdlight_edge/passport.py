"""The passport of a TensorRT engine: where and of what it was built; a foreign engine is refused before it is loaded.

TensorRT engines hold machine code. One that was built for another GPU or by another version is refused by TensorRT
late, with a riddle, or ends the process; so what an engine is goes into a JSON file beside it and is compared first.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.errors import EngineMismatch
from kdlight_edge.strict import Reader

SCHEMA = 1

READER = Reader("engine passport", EngineMismatch, "build the engine again")

SUFFIX = ".passport.json"


@dataclass(frozen=True, slots=True)
class Here:
    """What an engine must agree with: this machine's GPU and the software that would load it."""

    gpu: str
    """Name of the GPU, as CUDA tells it."""
    compute_capability: str
    """For instance ``8.7``."""
    kind: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    """Of TensorRT."""
    cuda: str
    """Of the CUDA runtime, for instance ``12.6``."""
    driver: str
    """Newest CUDA version that the driver serves, for instance ``12.6``."""


@dataclass(frozen=True, slots=True)
class Passport:
    """What an engine says about itself. None is what was not known where it was built, without a GPU."""

    schema: int
    gpu: str | None
    compute_capability: str
    kind: str
    version: str
    cuda: str | None
    driver: str | None
    flags: tuple[str, ...]
    """How it was built, see `kdlight_edge.engines.tensorrt_plan.BuildPlan.flags`."""
    onnx_sha256: str
    engine_sha256: str


FIELDS = {
    "gpu": "the GPU",
    "compute_capability": "compute capability",
    "kind": "the kind of TensorRT",
    "version": "TensorRT",
    "cuda": "CUDA",
    "driver": "the driver's CUDA",
}
"""Fields that are compared with `Here`, and their names for people."""


def passport_of(engine: Path) -> Path:
    """Return where the passport of an engine file is."""
    return engine.with_name(engine.name + SUFFIX)


def to_text(passport: Passport) -> str:
    """Return the passport as JSON."""
    return json.dumps(dataclasses.asdict(passport), indent=1) + "\n"


def read_passport(engine: Path) -> Passport:
    """Read the passport of an engine file.

    Raises:
        EngineMismatch: it is missing, no passport, or of another schema.
    """
    file = passport_of(engine)
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise EngineMismatch(f"{engine.name} has no passport that can be read ({reason}); build it again") from error
    passport = READER.record(Passport, record)
    if passport.schema != SCHEMA:
        raise EngineMismatch(
            f"{file.name} has schema {passport.schema}, this program reads {SCHEMA}; build the engine again"
        )
    return passport


def check(engine: Path, here: Here, *, flags: tuple[str, ...], onnx_sha256: str) -> bytes:
    """Return the bytes of an engine whose passport agrees with this machine and with what should have been built.

    Raises:
        EngineMismatch: naming the first field that differs, with both values; the engine was not handed to TensorRT.
    """
    passport = read_passport(engine)
    for name, told in FIELDS.items():
        stated, found = getattr(passport, name), getattr(here, name)
        if stated is not None and stated != found:
            raise EngineMismatch(f"{engine.name} was built for {told} {stated}, here is {found}; it is not loaded")
    if passport.flags != flags:
        raise EngineMismatch(
            f"{engine.name} was built with {', '.join(passport.flags) or 'no flags'}, "
            f"wanted is {', '.join(flags)}; it is not loaded"
        )
    if passport.onnx_sha256 != onnx_sha256:
        raise EngineMismatch(
            f"{engine.name} was built from the ONNX file {passport.onnx_sha256[:16]}, "
            f"the bundle's is {onnx_sha256[:16]}; it is not loaded"
        )
    try:
        content = engine.read_bytes()
    except OSError as error:
        raise EngineMismatch(f"{engine.name} cannot be read ({error.strerror}); it is built again") from error
    if hashlib.sha256(content).hexdigest() != passport.engine_sha256:
        raise EngineMismatch(f"{engine.name} is not what its passport says (SHA-256 differs); it is not loaded")
    return content
