"""What a measurement must say about the machine it was made on; figures with different fingerprints do not compare."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdlight_devices.detect import compatible, cpu_fields, detect, model
from kdlight_devices.kernel import read, sized, whole

PACKAGES = ("kdlight-edge", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "openvino", "tensorrt")
"""Distributions that decide the speed and the answer of a run."""


def fingerprint(root: Path = Path("/")) -> dict[str, str | int | None]:
    """Describe the machine.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` are; another folder than ``/`` for a tree captured elsewhere.

    Returns:
        ``machine`` (architecture), ``board`` (its name here), ``model`` (the maker's name, None on most computers),
        ``soc`` (the device tree's name of the chip), ``cpu``, ``cores`` (usable by this process), ``memory_bytes``,
        ``kernel``, ``os``, ``l4t`` (a Jetson's release: JetPack 6 is R36), ``power_mode`` (number of a Jetson's
        ``nvpmodel``), ``python``, ``governor`` and ``clock_limit_hz`` (of the processor; None where the kernel does
        not tell).
    """
    fields = cpu_fields(root)
    clocks = root / "sys/devices/system/cpu/cpu0/cpufreq"
    limit = whole(clocks / "scaling_max_freq")
    return {
        "machine": platform.machine(),
        "board": detect(root).name,
        "model": model(root) or None,
        "soc": (compatible(root) or (None,))[-1],
        "cpu": _cpu(fields) or model(root) or None,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": sized(root / "proc/meminfo", "MemTotal"),
        "kernel": read(root / "proc/sys/kernel/osrelease").strip() or None,
        "os": _os(root),
        "l4t": _l4t(root),
        "power_mode": read(root / "var/lib/nvpmodel/status").strip().partition("pmode:")[2] or None,
        "python": platform.python_version(),
        "governor": read(clocks / "scaling_governor").strip() or None,
        "clock_limit_hz": None if limit is None else limit * 1000,
    }


def describe(found: Mapping[str, str | int | None]) -> str:
    """Return a fingerprint as one line for people."""
    computer = found["model"] or found["cpu"] or found["machine"]
    system = found["os"] or "an unknown system"
    return f"{computer}, {found['cores']} cores, {system}, Python {found['python']}"


def _cpu(fields: Mapping[str, str]) -> str:
    """Return a processor's name; of a hidden one, as in a rented machine, its family too: two may differ by half."""
    name, family = fields.get("model name", ""), fields.get("cpu family")
    if family is None or re.search(r"\d", name):
        return name
    return f"{name} (family {family}, model {fields.get('model')})"


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the version of each distribution that is installed; the others are left out."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _l4t(root: Path) -> str | None:
    """Read ``# R36 (release), REVISION: 4.3, ...``."""
    found = re.match(r"# (R\d+) \(release\), REVISION: ([\d.]+)", read(root / "etc/nv_tegra_release"))
    return None if found is None else f"{found[1]}.{found[2]}"


def _os(root: Path) -> str | None:
    for line in read(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None


if __name__ == "__main__":
    print(json.dumps({"machine": fingerprint(), "versions": versions()}))  # noqa: T201 - asked for over ssh
