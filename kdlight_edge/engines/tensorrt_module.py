"""Whichever TensorRT is installed, as one: TensorRT 10.3 (JetPack 6) to 11, or TensorRT-RTX."""

import ctypes
import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from kdlight_edge.errors import EngineNotReady

MODULES = ("tensorrt", "tensorrt_rtx")
"""Import names, the preferred first: on a Jetson there is only the first."""

CUDA_MODULES = ("pycuda", "cuda.bindings")


@dataclass(frozen=True, slots=True)
class Trt:
    """An imported TensorRT."""

    kind: str
    """Its import name."""
    version: str
    api: Any
    """The module."""
    said: "list[tuple[int, str]]" = field(default_factory=list)
    """Errors (1) and internal errors (0) since the last `last_error`, with their severity."""
    logger: Any = None


def open_trt(kind: str | None = None) -> Trt:
    """Import TensorRT: the one of `MODULES` that is named, or else the first that is installed.

    Raises:
        EngineNotReady: it is not installed, or its libraries do not load.
    """
    names = [kind] if kind is not None else [name for name in MODULES if _there(name)]
    if not names or not _there(names[0]):
        raise EngineNotReady(
            f"{kind or 'neither tensorrt (part of JetPack) nor tensorrt_rtx'} is {'not ' * bool(kind)}installed; "
            f"pip install 'kdlight-edge[tensorrt-rtx]' brings {'it' if kind else 'the second'}"
        )
    try:
        api = importlib.import_module(names[0])
    except (ImportError, OSError) as error:
        raise EngineNotReady(f"{names[0]} is installed and does not import ({error})") from error
    said: list[tuple[int, str]] = []
    return Trt(names[0], str(api.__version__), api, said, _logger(api, said))


def lack() -> str | None:
    """Tell why no TensorRT engine can run on this machine; None where one can. Imports nothing heavy."""
    if not any(_there(name) for name in MODULES):
        return "needs tensorrt (part of JetPack) or tensorrt_rtx: pip install 'kdlight-edge[tensorrt-rtx]'"
    if not any(_there(name) for name in CUDA_MODULES):
        return "needs pycuda or cuda-python: pip install pycuda"
    return gpu_lack()


def gpu_lack() -> str | None:
    """Tell why there is no GPU for CUDA here; None where there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "needs an NVIDIA GPU: there is no driver (libcuda.so.1) on this machine"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "needs an NVIDIA GPU: the driver finds none"
    return None


def last_error(trt: Trt) -> str:
    """Return what TensorRT last complained about, in one line, and forget it."""
    # Without a GPU an internal error about its absence comes before what matters.
    told = [text for _, text in sorted(trt.said, key=lambda entry: -entry[0])]
    trt.said.clear()
    return " ".join((told or ["no reason was given"])[0].split())


def _logger(api: Any, said: list[tuple[int, str]]) -> Any:
    class Logger(api.ILogger):  # type: ignore[misc]
        """Keeps what matters; TensorRT's own would print to stdout."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if int(severity) <= int(api.ILogger.Severity.ERROR):
                said.append((int(severity), text))

    return Logger()


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
