"""What runs a network: one contract, one file an engine, each imported only when chosen."""

from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kdlight_edge.errors import (
    BundleError,
    EngineMismatch,
    EngineNotReady,
    KDLightError,
    MissingPackage,
    UsageError,
)
from kdlight_edge.late import import_late

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdlight_edge.bundle import Bundle
    from kdlight_edge.manifest import Artifact

ENGINES = {
    "onnxruntime": ("kdlight_edge.engines.onnxruntime", "onnx"),
    "openvino": ("kdlight_edge.engines.openvino", "openvino"),
    "tensorrt": ("kdlight_edge.engines.tensorrt", "tensorrt"),
}
"""Engine name to the module that owns it and the artifact format it runs. Which comes first is the bundle's to say."""


class Outputs(NamedTuple):
    """What every engine answers for a batch of N pictures and C labels."""

    logits: "npt.NDArray[np.float32]"
    """float32 [N, C], never softmax."""
    cam: "npt.NDArray[np.float32] | None"
    """float32 [N, C, h, w], class activation map, whose mean over h and w is the logit; None if not asked."""
    outlier: "npt.NDArray[np.float32]"
    """float32 [N], distance of the feature from the training set."""


class Engine(Protocol):
    """A loaded network. `run` may be called from several threads when `concurrent` is true."""

    name: str
    artifact: "Artifact"
    concurrent: bool

    def run(self, batch: "npt.NDArray[np.uint8]", *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3] RGB, as `prepare` makes it."""
        ...

    def __enter__(self) -> "Engine": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_engine(bundle: "Bundle", *, engine: str = "auto", threads: int = 0) -> Engine:
    """Load a bundle's network.

    Args:
        bundle: an opened bundle.
        engine: a name of `ENGINES`, or ``auto`` for the first artifact whose engine is installed.
        threads: threads inside one `Engine.run`; 0 takes every core this process may use.

    Raises:
        UsageError: no such engine.
        BundleError: the bundle has no artifact for it.
        MissingPackage: the engine's package is not installed.
        EngineNotReady: this machine cannot run the engine, or has not built it yet.
        EngineMismatch: it was built for another machine.
    """
    return open_told(bundle, engine=engine, threads=threads)[0]


def open_told(bundle: "Bundle", *, engine: str = "auto", threads: int = 0) -> tuple[Engine, str | None]:
    """As `open_engine`, and tell why it is not the engine that the bundle prefers; None where it is."""
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"--engine {engine} is unknown; choose auto, {', '.join(ENGINES)}")
    passed_over: list[KDLightError] = []
    for artifact in bundle.manifest.artifacts:
        for name in ENGINES if engine == "auto" else [engine]:
            if artifact.format != ENGINES[name][1]:
                continue
            try:
                opened = load(bundle, artifact, engine=name, threads=threads)
            except (MissingPackage, EngineNotReady, EngineMismatch) as error:
                passed_over.append(error)
            else:
                return opened, str(passed_over[0]) if passed_over else None
    if passed_over:
        raise passed_over[-1]
    formats = ", ".join(dict.fromkeys(artifact.format for artifact in bundle.manifest.artifacts))
    raise BundleError(f"{bundle.path} holds {formats} and nothing that --engine {engine} runs; export it again")


def load(bundle: "Bundle", artifact: "Artifact", *, engine: str, threads: int = 0) -> Engine:
    """Load one file of a bundle on the engine of that name; raises as `open_engine` does."""
    module = import_late(ENGINES[engine][0], engine)
    opened: Engine = module.load(bundle, artifact, threads=threads)
    return opened
