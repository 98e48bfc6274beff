"""A GPU and a TensorRT that need neither: for tests of programs that use them, and as strict as the real ones.

Copies and runs happen when the stream is waited for, as on a GPU; memory has addresses; what was freed, never
allocated, not page-locked or asked for by a foreign thread is an error; while a graph is recorded nothing may be
allocated or waited for.
"""

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.engines import Outputs
from kdlight_edge.engines.tensorrt_module import Trt
from kdlight_edge.errors import KDLightError

Answer = Callable[[npt.NDArray[np.uint8]], Outputs]
"""What a network answers, with the class activation map."""


class FakeDevice:
    """The contract `kdlight_edge.engines.cuda.Device`, in the host's memory."""

    adapter = "fake"
    gpu, compute_capability, cuda, driver, stream = "Fake GPU", "8.7", "12.6", "12.6", 77

    def __init__(self, fails: Sequence[str] = ()) -> None:
        """Take the names of the methods that fail."""
        self.log: list[str] = []
        """Calls in their order; what a graph does is not a call."""
        self.closed = False
        self._fails = fails
        self._owner = threading.get_ident()
        self._memory: dict[int, npt.NDArray[np.uint8]] = {}
        self._pinned: list[npt.NDArray[np.uint8]] = []
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """Return memory that counts as page-locked."""
        self.called("pinned", while_recording=False)
        self._pinned.append(np.full(size, 0xAA, np.uint8))
        return self._pinned[-1]

    def memory(self, size: int) -> int:
        """Return an address."""
        self.called("memory", while_recording=False)
        address = 0x1000 + sum(len(block) + 256 for block in self._memory.values())
        self._memory[address] = np.full(size, 0xAA, np.uint8)
        return address

    def upload(self, address: int, host: npt.NDArray[np.uint8]) -> None:
        """Queue a copy to the device."""
        self.called("upload")
        self._locked(host)
        target = self.at(address, host.nbytes)
        self.put(lambda: target.__setitem__(slice(None), host))

    def download(self, host: npt.NDArray[np.uint8], address: int) -> None:
        """Queue a copy from the device."""
        self.called("download")
        self._locked(host)
        source = self.at(address, host.nbytes)
        self.put(lambda: host.__setitem__(slice(None), source))

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` queues."""
        self.called("record", while_recording=False)
        self._recording = []
        try:
            work()
            steps = self._recording
        finally:
            self._recording = None
        return lambda: self._launch(steps)

    def synchronize(self) -> None:
        """Do what is queued."""
        self.called("synchronize", while_recording=False)
        for step in self._queue:
            step()
        self._queue.clear()

    def put(self, step: Callable[[], None]) -> None:
        """Queue a step, or record it."""
        (self._queue if self._recording is None else self._recording).append(step)

    def at(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """Return device memory; fails outside of what was allocated."""
        block = self._memory.get(address)
        if block is None or size > len(block):
            raise KDLightError(f"CUDA: illegal address {address:#x} + {size}")
        return block[:size]

    def _launch(self, steps: Sequence[Callable[[], None]]) -> None:
        self.called("launch", while_recording=False)
        self._queue.extend(steps)

    def _locked(self, host: npt.NDArray[np.uint8]) -> None:
        if not any(np.shares_memory(host, block) for block in self._pinned):
            raise KDLightError("CUDA: the host's memory is not page-locked")

    def called(self, name: str, *, while_recording: bool = True) -> None:
        """Note a call that goes to this device, TensorRT's own among them, or refuse it."""
        if self.closed:
            raise KDLightError(f"CUDA: {name} after the device was closed")
        if threading.get_ident() != self._owner:
            raise KDLightError(f"CUDA: {name} from a thread that does not own the context")
        if self._recording is not None and not while_recording:
            raise KDLightError(f"CUDA: {name} while a graph is recorded")
        self.log.append(name)
        if name in self._fails:
            raise KDLightError(f"CUDA: {name} failed")

    def __enter__(self) -> "FakeDevice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.called("close", while_recording=False)
        self._memory.clear()
        self.closed = True


def fake_trt(device: Callable[[], FakeDevice], answer: Answer, outputs: Outputs, side: int, content: bytes) -> Trt:
    """Return a TensorRT that knows one engine.

    Args:
        device: gives the device that is open.
        answer: what the engine computes.
        outputs: its answer for one picture, for the shapes.
        side: height and width of its pictures.
        content: the only bytes that it takes for an engine.
    """
    said: list[tuple[int, str]] = []

    def runtime(logger: Any) -> Any:
        del logger
        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    def deserialize(given: bytes) -> "_Engine | None":
        if given != content:
            said.append((1, "Serialization assertion failed:\n  the engine is damaged"))
            return None
        return _Engine(device(), answer, outputs, side)

    return Trt("tensorrt", "10.3.0", SimpleNamespace(Runtime=runtime, nptype=np.dtype), said, None)


class _Engine:
    """TensorRT's ICudaEngine, as far as it is used."""

    def __init__(self, device: FakeDevice, answer: Answer, outputs: Outputs, side: int) -> None:
        self.device, self.answer = device, answer
        self.shapes: dict[str, tuple[int, ...]] = {"image": (-1, side, side, 3)}
        self.shapes |= {name: (-1, *part.shape[1:]) for name, part in outputs._asdict().items()}
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, place: int) -> str:
        return list(self.shapes)[place]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> str:
        return "uint8" if name == "image" else "float32"

    def create_execution_context(self) -> "_Context":
        self.device.called("context")
        return _Context(self)


class _Context:
    """TensorRT's IExecutionContext, as far as it is used."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return name == "image"

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        device, shape, addresses = self._engine.device, self._shape, dict(self._addresses)
        device.called("execute")
        if stream != device.stream or set(addresses) != set(self._engine.shapes):
            return False

        def step() -> None:
            image = device.at(addresses["image"], int(np.prod(shape))).reshape(shape)
            for name, part in self._engine.answer(image)._asdict().items():
                flat = np.ascontiguousarray(part, np.float32).reshape(-1).view(np.uint8)
                device.at(addresses[name], flat.nbytes)[:] = flat

        device.put(step)
        return True
