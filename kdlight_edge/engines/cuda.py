"""What the TensorRT engine needs of CUDA, as a contract; PyCUDA or, where that is missing, cuda-python fulfils it."""

import importlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from kdlight_edge.errors import EngineNotReady
from kdlight_edge.passport import Here

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdlight_edge.engines.tensorrt_module import Trt

ADAPTERS = {
    "pycuda": ("pycuda", "kdlight_edge.engines.cuda_pycuda"),
    "cuda-python": ("cuda", "kdlight_edge.engines.cuda_python"),
}
"""Name to the package it needs and the module that owns it, the preferred first."""


class Device(Protocol):
    """The first GPU with its primary context and one stream. Used by the thread that opened it, and by no other.

    Wider than this program's other contracts, and as wide as its one user: every method is called for every engine.
    """

    adapter: str
    gpu: str
    compute_capability: str
    cuda: str
    driver: str
    stream: int
    """Handle of the stream that everything below runs in, in order."""

    def pinned(self, size: int) -> "npt.NDArray[np.uint8]":
        """Return page-locked host memory, uint8 [size]."""
        ...

    def memory(self, size: int) -> int:
        """Return the address of device memory."""
        ...

    def upload(self, address: int, host: "npt.NDArray[np.uint8]") -> None:
        """Begin to copy page-locked host memory to the device."""
        ...

    def download(self, host: "npt.NDArray[np.uint8]", address: int) -> None:
        """Begin to copy device memory to page-locked host memory of that size."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture what ``work`` puts into the stream as a CUDA graph, and return what launches it."""
        ...

    def synchronize(self) -> None:
        """Wait until everything in the stream is done."""
        ...

    def __enter__(self) -> "Device": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_device() -> Device:
    """Open the first GPU through the first adapter whose package is installed.

    Raises:
        EngineNotReady: none is installed, or CUDA finds no GPU.
    """
    reasons = []
    for name, (package, module) in ADAPTERS.items():
        try:
            adapter: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:  # noqa: PERF203 - two adapters, once a start
            if (error.name or "").split(".")[0] != package:
                raise
            reasons.append(f"{name} is not installed")
        except ImportError as error:
            reasons.append(f"{name} does not import ({error})")
        else:
            opened: Device = adapter.open_device()
            return opened
    raise EngineNotReady(f"CUDA cannot be reached: {'; '.join(reasons)}; pip install pycuda")


def this_machine(trt: "Trt", device: Device) -> Here:
    """Return what a passport must agree with."""
    return Here(device.gpu, device.compute_capability, trt.kind, trt.version, device.cuda, device.driver)


def version_text(number: int) -> str:
    """Return CUDA's number of a version, as 12060, for people: ``12.6``."""
    return f"{number // 1000}.{number % 1000 // 10}"
