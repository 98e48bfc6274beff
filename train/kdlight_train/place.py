"""Where training runs: device, number format, and which of several processes this one is."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn

from kdlight_edge.errors import UsageError
from kdlight_train.strided import SpreadGradients


@dataclass(frozen=True, slots=True)
class Place:
    """A device and this process's part of the work."""

    device: torch.device
    bf16: bool
    """Whether matrix work of large networks is faster in bfloat16 here."""
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    @contextmanager
    def autocast(self, *, on_cpu: bool) -> Iterator[None]:
        """Be the context of a forward pass, in bfloat16 where that is faster: on a GPU, and on a CPU if ``on_cpu``."""
        cpu = self.device.type == "cpu"
        wanted = self.bf16 and (on_cpu or not cpu)
        short = SpreadGradients() if wanted and cpu else nullcontext()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted), short:
            yield

    def agree(self, answer: bool) -> bool:  # noqa: FBT001 - the answer is what it takes
        """Return the first process's answer in every process; all of them must ask."""
        if self.world == 1:
            return answer
        said = torch.tensor([answer], dtype=torch.uint8, device=self.device)
        distributed.broadcast(said, 0)
        return bool(said.item())

    def await_first(self) -> None:
        """Go on in the other processes once the first has come here; all of them must."""
        self.agree(self.first)

    @contextmanager
    def drawing(self, seed: int) -> Iterator[None]:
        """Be a block whose draws from the global generators, as dropout makes them, depend on the seed alone."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield


def choose_place(device: str) -> Place:
    """Choose the device and join the other processes when torchrun started several.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: ``cuda`` was asked for and is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device cuda: PyTorch {torch.__version__} sees no GPU here; use --device cpu or auto")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    if kind == "cuda":
        torch.cuda.set_device(local)
        return Place(torch.device("cuda", local), torch.cuda.is_bf16_supported(), rank, world)
    _keep_memory()
    return Place(torch.device("cpu"), _cpu_has_bf16(), rank, world)


def move(network: nn.Module, place: Place) -> nn.Module:
    """Bring a network to the device in the memory layout that its convolutions want."""
    return network.to(place.device).to(memory_format=torch.channels_last)


def leave() -> None:
    """Part from the other processes, if there are any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _keep_memory() -> None:
    """Let the C library keep freed memory instead of giving it back to the kernel after every layer.

    Page faults on fresh memory otherwise take a visible share of a training on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library than glibc
    mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: up to a gigabyte of it stays


def _cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bfloat16 in hardware, by the flags Linux reports."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags
