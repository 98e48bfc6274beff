"""What a measurement must say about the machine it was made on; figures with different fingerprints do not compare."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdlight_devices.detect import cpu_fields, detect, model
from kdlight_devices.kernel import read

PACKAGES = ("kdlight-edge", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "openvino", "tensorrt")
"""Distributions that decide the speed and the answer of a run."""


def fingerprint(root: Path = Path("/")) -> dict[str, str | int | None]:
    """Describe the machine.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` are; another folder than ``/`` for a tree captured elsewhere.

    Returns:
        ``machine`` (architecture), ``board`` (its name here), ``model`` (the maker's name, None on most computers),
        ``cpu``, ``cores`` (usable by this process), ``memory_bytes``, ``kernel``, ``os``, ``python`` and ``governor``
        (of the processor's clock; None where the kernel does not tell).
    """
    fields = cpu_fields(root)
    return {
        "machine": platform.machine(),
        "board": detect(root).name,
        "model": model(root) or None,
        "cpu": fields.get("model name") or model(root) or None,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _memory(root),
        "kernel": read(root / "proc/sys/kernel/osrelease").strip() or None,
        "os": _os(root),
        "python": platform.python_version(),
        "governor": read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
    }


def describe(found: Mapping[str, str | int | None]) -> str:
    """Return a fingerprint as one line for people."""
    computer = found["model"] or found["cpu"] or found["machine"]
    system = found["os"] or "an unknown system"
    return f"{computer}, {found['cores']} cores, {system}, Python {found['python']}"


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the version of each distribution that is installed; the others are left out."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _memory(root: Path) -> int | None:
    for line in read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _os(root: Path) -> str | None:
    for line in read(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None
