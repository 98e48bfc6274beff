"""CUDA through cuda-python (`cuda.bindings.runtime`): the stand-in where PyCUDA is missing."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime as cudart

from kdlight_edge.engines.cuda import version_text
from kdlight_edge.errors import EngineNotReady, KDLightError


class CudaPython:
    """The first GPU; the runtime's calls use its primary context by themselves. See `cuda.Device`."""

    adapter = "cuda-python"

    def __init__(self) -> None:
        _call("cudaSetDevice", 0)
        found = _call("cudaGetDeviceProperties", 0)
        self.gpu = bytes(found.name).split(b"\0")[0].decode()
        self.compute_capability = f"{found.major}.{found.minor}"
        self.cuda = version_text(_call("cudaRuntimeGetVersion"))
        self.driver = version_text(_call("cudaDriverGetVersion"))
        self._stream = _call("cudaStreamCreateWithFlags", cudart.cudaStreamNonBlocking)
        self.stream = int(self._stream)
        self._host: list[int] = []
        self._memory: list[int] = []
        self._graphs: list[Any] = []

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """Return page-locked host memory, uint8 [size]."""
        address = int(_call("cudaMallocHost", size))
        self._host.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def memory(self, size: int) -> int:
        """Return the address of device memory."""
        self._memory.append(int(_call("cudaMalloc", size)))
        return self._memory[-1]

    def upload(self, address: int, host: npt.NDArray[np.uint8]) -> None:
        """Begin to copy to the device."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, self._stream)

    def download(self, host: npt.NDArray[np.uint8], address: int) -> None:
        """Begin to copy from the device."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture a graph; an error in ``work`` ends the capture and is raised."""
        _call("cudaStreamBeginCapture", self._stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            cudart.cudaStreamEndCapture(self._stream)
            raise
        graph = _call("cudaStreamEndCapture", self._stream)
        ready = _call("cudaGraphInstantiate", graph, 0)
        _call("cudaGraphDestroy", graph)
        self._graphs.append(ready)
        return lambda: _call("cudaGraphLaunch", ready, self._stream)

    def synchronize(self) -> None:
        """Wait until everything in the stream is done."""
        _call("cudaStreamSynchronize", self._stream)

    def __enter__(self) -> "CudaPython":
        return self

    def __exit__(self, *_: object) -> None:
        """Release everything; a GPU that has failed refuses that too, and the process's end does it."""
        for what, handles in (("GraphExecDestroy", self._graphs), ("Free", self._memory), ("FreeHost", self._host)):
            for handle in handles:
                getattr(cudart, f"cuda{what}")(handle)
            handles.clear()
        cudart.cudaStreamDestroy(self._stream)


def open_device() -> CudaPython:
    """Open the first GPU.

    Raises:
        EngineNotReady: there is none, or its driver is too old.
    """
    try:
        count = _call("cudaGetDeviceCount")
    except KDLightError as error:
        raise EngineNotReady(f"no GPU can be used: {error}") from error
    if count == 0:
        raise EngineNotReady("no GPU can be used: CUDA finds none")
    return CudaPython()


def _call(name: str, *arguments: Any) -> Any:
    """Call the CUDA runtime, raise its error as one line, and return its answer."""
    status, *answer = getattr(cudart, name)(*arguments)
    if status != cudart.cudaError_t.cudaSuccess:
        _, text = cudart.cudaGetErrorString(status)
        raise KDLightError(f"CUDA: {name} failed with {text.decode()} ({status.name})")
    return answer[0] if answer else None
