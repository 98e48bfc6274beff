"""A fingerprint holds what decides a speed, read from the kernel of the machine or from a captured tree."""

import os
import platform
from pathlib import Path

import pytest

import kdlight_edge
from kdlight_devices.fingerprint import describe, fingerprint, versions


def test_a_captured_tree_is_described(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\n\nprocessor\t: 1\n",
        "proc/meminfo": "MemTotal:        8256128 kB\nMemFree:  1 kB\n",
        "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-2712\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2400000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert fingerprint(tmp_path) == {
        "machine": platform.machine(),
        "board": "pi-5",
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "soc": "brcm,bcm2712",
        "cpu": "Raspberry Pi 5 Model B Rev 1.0",
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": 8256128 * 1024,
        "kernel": "6.6.51+rpt-rpi-2712",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "l4t": None,
        "power_mode": None,
        "python": platform.python_version(),
        "governor": "ondemand",
        "clock_limit_hz": 2_400_000_000,
    }


def test_a_jetson_tells_its_release_and_power_mode(tmp_path: Path) -> None:
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "var/lib/nvpmodel/status": "pmode:0002\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = fingerprint(tmp_path)
    assert (found["l4t"], found["power_mode"]) == ("R36.4.3", "0002")


@pytest.mark.parametrize(
    ("name", "told"),
    [("AMD EPYC", "AMD EPYC (family 26, model 2)"), ("AMD EPYC 9654 96-Core Processor", None)],
)
def test_a_processor_that_hides_its_name_is_told_by_its_family(tmp_path: Path, name: str, told: str | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: {name}\n")
    found = fingerprint(tmp_path)
    assert found["cpu"] == (told or name)
    assert describe(found).startswith(f"{told or name}, ")


def test_a_bare_tree_gives_none_and_no_error(tmp_path: Path) -> None:
    found = fingerprint(tmp_path)
    assert found["board"] == "other"
    assert [key for key, value in found.items() if value is None] == [
        "model", "soc", "cpu", "memory_bytes", "kernel", "os", "l4t", "power_mode", "governor", "clock_limit_hz",
    ]  # fmt: skip


def test_this_machine_tells_its_kernel_and_memory() -> None:
    found = fingerprint()
    assert found["kernel"] == platform.release()
    assert found["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_versions_hold_what_is_installed_and_nothing_else() -> None:
    found = versions(("kdlight-edge", "there-is-no-such-package"))
    assert found == {"kdlight-edge": kdlight_edge.__version__}
