"""CUDA through PyCUDA: what a Jetson has. Graphs, which PyCUDA does not know, are captured through the driver."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pycuda.driver as cuda

from kdlight_edge.engines.cuda import version_text
from kdlight_edge.errors import EngineNotReady, KDLightError

THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do with CUDA does not spoil the capture."""


class PyCuda:
    """The first GPU with its primary context, which PyTorch and others in the process share. See `cuda.Device`."""

    adapter = "pycuda"

    def __init__(self) -> None:
        found = cuda.Device(0)
        self.gpu = str(found.name())
        self.compute_capability = "{}.{}".format(*found.compute_capability())
        major, minor, _ = cuda.get_version()
        self.cuda = f"{major}.{minor}"
        self.driver = version_text(cuda.get_driver_version())
        self._context = found.retain_primary_context()
        self._context.push()
        self._stream = cuda.Stream()
        self.stream = int(self._stream.handle)
        self._host: list[npt.NDArray[np.uint8]] = []
        self._memory: list[Any] = []
        self._graphs: list[ctypes.c_void_p] = []
        self._driver = ctypes.CDLL("libcuda.so.1")

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """Return page-locked host memory, uint8 [size]."""
        self._host.append(cuda.pagelocked_empty(size, np.uint8))
        return self._host[-1]

    def memory(self, size: int) -> int:
        """Return the address of device memory."""
        self._memory.append(cuda.mem_alloc(size))
        return int(self._memory[-1])

    def upload(self, address: int, host: npt.NDArray[np.uint8]) -> None:
        """Begin to copy to the device."""
        cuda.memcpy_htod_async(address, host, self._stream)

    def download(self, host: npt.NDArray[np.uint8], address: int) -> None:
        """Begin to copy from the device."""
        cuda.memcpy_dtoh_async(host, address, self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture a graph; an error in ``work`` ends the capture and is raised."""
        stream, graph, ready = ctypes.c_void_p(self.stream), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, THREAD_LOCAL)
        try:
            work()
        except BaseException:
            self._driver.cuStreamEndCapture(stream, ctypes.byref(graph))
            raise
        self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        self._call("cuGraphDestroy", graph)
        self._graphs.append(ready)
        return lambda: self._call("cuGraphLaunch", ready, stream)

    def synchronize(self) -> None:
        """Wait until everything in the stream is done."""
        self._stream.synchronize()

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            raise KDLightError(f"CUDA: {name} failed with error {status}")

    def __enter__(self) -> "PyCuda":
        return self

    def __exit__(self, *_: object) -> None:
        """Release everything while the context is still current, then let go of it."""
        for graph in self._graphs:
            self._driver.cuGraphExecDestroy(graph)
        for memory in self._memory:
            memory.free()
        self._graphs.clear()
        self._memory.clear()
        self._host.clear()
        del self._stream
        self._context.pop()
        self._context.detach()


def open_device() -> PyCuda:
    """Open the first GPU.

    Raises:
        EngineNotReady: there is none, or its driver does not start.
    """
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise EngineNotReady(f"no GPU can be used: {error}") from error
    if count == 0:
        raise EngineNotReady("no GPU can be used: CUDA finds none")
    return PyCuda()
