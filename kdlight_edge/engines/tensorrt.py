"""TensorRT: the engine of NVIDIA's GPUs. One thread owns the GPU, and nothing is allocated there per picture."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines import Outputs
from kdlight_edge.engines.cuda import Device, open_device, this_machine
from kdlight_edge.engines.tensorrt_module import Trt, lack, last_error, open_trt
from kdlight_edge.engines.tensorrt_plan import BuildPlan, cached_engine, read_plan
from kdlight_edge.errors import BundleError, EngineMismatch, EngineNotReady, KDLightError
from kdlight_edge.manifest import Artifact
from kdlight_edge.passport import Here, check

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = ("logits", "cam", "outlier")


class Card:
    """An engine on the GPU with its buffers and CUDA graphs; belongs to one thread."""

    def __init__(
        self, trt: Trt, device: Device, content: bytes, bundle: Bundle, plan: BuildPlan, *, graphs: bool
    ) -> None:
        """Load an engine whose passport was checked, allocate for its largest batch, and warm up for one picture.

        Raises:
            EngineMismatch: TensorRT refuses the bytes.
            BundleError: its inputs and outputs are not ours.
            KDLightError: CUDA failed, for instance without memory.
        """
        self.most = plan.profile.most
        self.graphs = graphs
        self._trt, self._device = trt, device
        self._runtime = trt.api.Runtime(trt.logger)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise EngineMismatch(f"{trt.kind} {trt.version} refuses the engine of {plan.onnx}: {last_error(trt)}")
        shapes = _shapes(trt, self._engine, bundle, plan)
        self._host: dict[str, npt.NDArray[Any]] = {}
        self._memory: dict[str, int] = {}
        for name, shape in shapes.items():
            kind = np.dtype(np.uint8 if name == "image" else np.float32)
            size = self.most * int(np.prod(shape)) * kind.itemsize
            self._host[name] = device.pinned(size).view(kind).reshape(self.most, *shape)
            self._memory[name] = device.memory(size)
        self._lanes: dict[tuple[int, bool], Callable[[], None]] = {}
        self._lane(1)

    def answer(self, batch: npt.NDArray[np.uint8], *, cam: bool) -> Outputs:
        """Answer a batch of any size, uint8 [N, H, W, 3], in passes of at most `most` pictures."""
        parts = [self._pass(batch[at : at + self.most], cam=cam) for at in range(0, len(batch), self.most)]
        if len(parts) == 1:
            return parts[0]
        logits, cams, outlier = zip(*parts, strict=True)
        return Outputs(np.concatenate(logits), np.concatenate(cams) if cam else None, np.concatenate(outlier))

    def _pass(self, batch: npt.NDArray[np.uint8], *, cam: bool) -> Outputs:
        n = len(batch)
        lane = self._lane(n)
        self._host["image"][:n] = batch
        lane()
        if cam:
            self._download("cam", n)
        self._device.synchronize()
        # Copies: the next pass overwrites the buffers.
        logits, outlier = self._host["logits"][:n].copy(), self._host["outlier"][:n].copy()
        return Outputs(logits, self._host["cam"][:n].copy() if cam else None, outlier)

    def times(self, n: int, runs: int, *, copies: bool) -> list[float]:
        """Time passes of ``n`` pictures, milliseconds each, with or without the copies; for benchmarks."""
        lane, taken = self._lane(n, copies=copies), []
        for _ in range(runs):
            started = time.perf_counter()
            lane()
            self._device.synchronize()
            taken.append((time.perf_counter() - started) * 1000)
        return taken

    def _lane(self, n: int, *, copies: bool = True) -> Callable[[], None]:
        """Return what answers ``n`` pictures that are in the host's buffer; made at the first batch of that size.

        Each has an execution context of its own: a captured graph holds on to the shapes of its context.
        """
        lane = self._lanes.get((n, copies))
        if lane is None:
            lane = self._lanes[n, copies] = self._made(n, copies=copies)
        return lane

    def _made(self, n: int, *, copies: bool) -> Callable[[], None]:
        context = self._engine.create_execution_context()
        if context is None:
            raise KDLightError(f"TensorRT has no room for another {n} pictures a pass: {last_error(self._trt)}")
        context.set_input_shape("image", (n, *self._host["image"].shape[1:]))
        for name, address in self._memory.items():
            context.set_tensor_address(name, address)

        def work() -> None:
            if copies:
                self._device.upload(self._memory["image"], _bytes(self._host["image"][:n]))
            if not context.execute_async_v3(self._device.stream):
                raise KDLightError(f"TensorRT could not run: {last_error(self._trt)}")
            if copies:
                self._download("logits", n)
                self._download("outlier", n)

        # TensorRT finishes setting itself up in the first run, which must not be part of a graph.
        work()
        self._device.synchronize()
        return self._device.record(work) if self.graphs else work

    def _download(self, name: str, n: int) -> None:
        self._device.download(_bytes(self._host[name][:n]), self._memory[name])

    def close(self) -> None:
        """Let go of TensorRT's objects before the context that they live in."""
        self._lanes.clear()
        self._engine = self._runtime = None
        self._host.clear()
        self._device.__exit__(None, None, None)


class TensorRtEngine:
    """An engine behind a queue to the thread that owns the GPU, so that every thread may call `run`."""

    name = "tensorrt"
    concurrent = True

    def __init__(self, owner: ThreadPoolExecutor, card: Card, artifact: Artifact) -> None:
        self._owner = owner
        self.card = card
        self.artifact = artifact

    def run(self, batch: npt.NDArray[np.uint8], *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3] RGB; the class activation map is copied only when asked for."""
        return self._owner.submit(self.card.answer, batch, cam=cam).result()

    def times(self, n: int, runs: int, *, copies: bool) -> list[float]:
        """Time passes in the owner's thread, see `Card.times`."""
        return self._owner.submit(self.card.times, n, runs, copies=copies).result()

    def __enter__(self) -> "TensorRtEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.submit(self.card.close).result()
        self._owner.shutdown()


def load(bundle: Bundle, artifact: Artifact, *, threads: int = 0, graphs: bool = True) -> TensorRtEngine:
    """Load the engine of a build plan: the one that this machine has built, or one that came with the bundle.

    ``threads`` says nothing to a GPU. Passes are CUDA graphs but where what these save is measured.

    Raises:
        EngineNotReady: no GPU, no TensorRT, or no engine for this machine yet.
        EngineMismatch: an engine is there and is of another machine, version or ONNX file.
        BundleError: the plan, or the engine's inputs and outputs, are not ours.
    """
    del threads
    plan = read_plan(bundle, artifact)
    missing = lack()
    if missing is not None:
        raise EngineNotReady(f"tensorrt {missing}")
    trt = open_trt()
    owner = ThreadPoolExecutor(1, "tensorrt")
    try:
        card = owner.submit(_open, trt, bundle, plan, graphs=graphs).result()
    except BaseException:
        owner.shutdown()
        raise
    return TensorRtEngine(owner, card, artifact)


def _open(trt: Trt, bundle: Bundle, plan: BuildPlan, *, graphs: bool) -> Card:
    device = open_device()
    try:
        content = find(bundle, plan, this_machine(trt, device))
        return Card(trt, device, content, bundle, plan, graphs=graphs)
    except BaseException:
        device.__exit__(None, None, None)
        raise


def find(bundle: Bundle, plan: BuildPlan, here: Here) -> bytes:
    """Return the first engine whose passport agrees with this machine.

    Raises:
        EngineMismatch: there are engines, and none agrees; tells about the first.
        EngineNotReady: there is none.
    """
    built = cached_engine(plan, here)
    files: list[Path] = [built] if built.is_file() else []
    files += [bundle.path / name for name in plan.engines]
    refused: list[EngineMismatch] = []
    for file in files:
        try:
            return check(file, here, flags=plan.flags, onnx_sha256=plan.onnx_sha256)
        except EngineMismatch as error:  # noqa: PERF203 - a few files, once a start
            refused.append(error)
    if refused:
        raise refused[0]
    raise EngineNotReady(
        f"no TensorRT engine of {plan.onnx} was built for this {here.gpu} yet; "
        "a camera's run builds it in the background, --engine tensorrt at once"
    )


def _shapes(trt: Trt, engine: Any, bundle: Bundle, plan: BuildPlan) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input and output behind the batch; refuse what is not what the manifest says."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    shapes = {name: tuple(engine.get_tensor_shape(name))[1:] for name in names}
    kinds = {name: np.dtype(trt.api.nptype(engine.get_tensor_dtype(name))) for name in names}
    spec, labels = bundle.manifest.input, len(bundle.manifest.labels)
    wanted = {"image": (spec.height, spec.width, 3), "logits": (labels,), "outlier": ()}
    wrong = [name for name, shape in wanted.items() if shapes.get(name) != shape]
    wrong += [name for name in ("image", *OUTPUTS) if kinds.get(name) != (np.uint8 if name == "image" else np.float32)]
    if wrong or len(names) != 1 + len(OUTPUTS):
        told = ", ".join(f"{name} {kinds[name]} {list(shapes[name])}" for name in names)
        raise BundleError(f"the engine of {plan.onnx} has {told}, which is not this bundle's graph; export it again")
    return shapes


def _bytes(part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the first pictures of a buffer as the bytes that they are."""
    return part.reshape(-1).view(np.uint8)
