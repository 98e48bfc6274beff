"""What a board feels is read from trees written down from the documentation of each board."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from kdlight_devices.heat import FIRMWARE_FILE, Throttling, temperatures, throttling
from kdlight_devices.telemetry import look, module_watts

CPU = "sys/devices/system/cpu"
THERMAL = "sys/class/thermal"
HWMON = "sys/class/hwmon"

PI_5 = {
    f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
    f"{THERMAL}/thermal_zone0/temp": "61700\n",
    f"{THERMAL}/cooling_device0/type": "pwm-fan\n",
    f"{THERMAL}/cooling_device0/cur_state": "2\n",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "ondemand\n",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
    f"{CPU}/cpu3/cpufreq/scaling_cur_freq": "1500000\n",
    f"{CPU}/cpu0/cpufreq/scaling_max_freq": "2400000\n",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "proc/meminfo": "MemTotal:        8245004 kB\nMemFree:  6000000 kB\nMemAvailable:    7340032 kB\n",
    "proc/self/status": "Name:\tkdlight-edge\nVmHWM:\t  120000 kB\nVmRSS:\t   98304 kB\n",
    "proc/self/io": "rchar: 12\nwchar: 34\nwrite_bytes: 40960\ncancelled_write_bytes: 0\n",
    FIRMWARE_FILE: "0\n",
}
"""Raspberry Pi OS: the fan turns and the chip is not slowed."""

PMIC = """     3V3_SYS_A current(3)=0.10000000A
    VDD_CORE_A current(7)=2.00000000A
     3V3_SYS_V volt(11)=3.30000000V
    VDD_CORE_V volt(15)=0.75000000V
      EXT5V_V volt(24)=5.10000000V
"""

ORIN_NANO = {
    f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
    f"{THERMAL}/thermal_zone0/temp": "54531\n",
    f"{THERMAL}/thermal_zone1/type": "gpu-thermal\n",
    f"{THERMAL}/thermal_zone1/temp": "52000\n",
    f"{THERMAL}/thermal_zone2/type": "cv0-thermal\n",  # its part of the chip sleeps: there is nothing to read
    f"{THERMAL}/thermal_zone8/type": "tj-thermal\n",
    f"{THERMAL}/thermal_zone8/temp": "55125\n",
    f"{THERMAL}/cooling_device0/type": "cpu-throttle-alert\n",
    f"{THERMAL}/cooling_device0/cur_state": "0\n",
    f"{THERMAL}/cooling_device1/type": "gpu-throttle-alert\n",
    f"{THERMAL}/cooling_device1/cur_state": "0\n",
    f"{HWMON}/hwmon1/name": "ina3221\n",
    f"{HWMON}/hwmon1/in1_label": "VDD_IN\n",
    f"{HWMON}/hwmon1/in1_input": "5000\n",
    f"{HWMON}/hwmon1/curr1_input": "1200\n",
    f"{HWMON}/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
    f"{HWMON}/hwmon1/in2_input": "5000\n",
    f"{HWMON}/hwmon1/curr2_input": "320\n",
    f"{HWMON}/hwmon1/in7_label": "sum of shunt voltages\n",
    f"{HWMON}/hwmon2/name": "soctherm_oc\n",
    f"{HWMON}/hwmon2/oc1_event_cnt": "0\n",
    f"{HWMON}/hwmon2/oc3_event_cnt": "0\n",
}

NANO = {
    f"{THERMAL}/thermal_zone0/type": "AO-therm\n",
    f"{THERMAL}/thermal_zone0/temp": "44500\n",
    f"{THERMAL}/thermal_zone1/type": "CPU-therm\n",
    f"{THERMAL}/thermal_zone1/temp": "36000\n",
    f"{THERMAL}/thermal_zone3/type": "PMIC-Die\n",
    f"{THERMAL}/thermal_zone3/temp": "100000\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "2750\n",
}


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return tmp_path / "board"


def capture(root: Path, *files: Mapping[str, str]) -> Path:
    for tree in files:
        for name, text in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def program(root: Path, answers: Mapping[str, str]) -> Path:
    """Install a vcgencmd that answers as the board's does."""
    capture(root, {f"answers/{question}": text for question, text in answers.items()})
    file = root / "usr/bin/vcgencmd"
    file.parent.mkdir(parents=True)
    file.write_text(f'#!/bin/sh\nexec cat "{root}/answers/$1"\n')
    file.chmod(0o755)
    return root


def test_a_raspberry_pi_5_tells_heat_clocks_memory_and_disk_writes(board: Path) -> None:
    seen = look(program(capture(board, PI_5), {"pmic_read_adc": PMIC}))
    assert (seen.celsius, seen.governor) == (61.7, "ondemand")
    assert (seen.clock_hz, seen.clock_limit_hz, seen.clock_max_hz) == (1_500_000_000, 2_400_000_000, 2_400_000_000)
    assert (seen.memory_available_bytes, seen.process_bytes, seen.written_bytes) == (7 << 30, 96 << 20, 40960)
    assert seen.rails == pytest.approx({"3V3_SYS": 0.33, "VDD_CORE": 1.5})
    assert seen.watts == pytest.approx(1.83)
    assert seen.throttling == Throttling(now=False)


@pytest.mark.parametrize(
    ("word", "now", "reasons", "past"),
    [
        ("0", False, (), ()),
        ("50005", True, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("e0008", True, ("soft temperature limit",), ("clock capped", "throttled", "soft temperature limit")),
        ("20002", True, ("clock capped",), ("clock capped",)),
        ("50000", False, (), ("under-voltage", "throttled")),
    ],
)
@pytest.mark.parametrize("way", ["file", "program"])
def test_the_firmware_says_why_a_pi_is_slow_by_file_or_by_program(
    board: Path,
    way: str,
    word: str,
    now: bool,  # noqa: FBT001 - a table
    reasons: tuple[str, ...],
    past: tuple[str, ...],
) -> None:
    if way == "file":
        capture(board, {FIRMWARE_FILE: f"{word}\n"})
    else:
        program(board, {"get_throttled": f"throttled=0x{word}\n"})
    assert throttling(board) == Throttling(now, reasons, past)


def test_a_vcgencmd_that_fails_tells_nothing(board: Path) -> None:
    assert throttling(program(board, {})) == Throttling(None)


def test_an_orin_tells_its_power_and_leaves_sleeping_zones_out(board: Path) -> None:
    seen = look(capture(board, ORIN_NANO))
    assert seen.zones == {"cpu-thermal": 54.531, "gpu-thermal": 52.0, "tj-thermal": 55.125}
    assert seen.celsius == 55.125
    assert seen.rails == {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 1.6}
    assert seen.watts == 6.0
    assert seen.throttling == Throttling(now=False)


def test_a_jetson_that_is_braked_says_by_which_alert_and_remembers_over_current(board: Path) -> None:
    capture(board, ORIN_NANO, {f"{THERMAL}/cooling_device1/cur_state": "1\n", f"{HWMON}/hwmon2/oc3_event_cnt": "4\n"})
    assert throttling(board) == Throttling(True, ("gpu-throttle-alert",), ("over-current",))  # noqa: FBT003 - now


def test_the_hundred_degrees_of_a_nanos_power_chip_are_no_reading(board: Path) -> None:
    seen = look(capture(board, NANO))
    assert "PMIC-Die" not in seen.zones
    assert seen.celsius == 36.0
    assert seen.watts == 2.75


JETPACK_6 = (
    "11-24-2026 10:00:00 RAM 2318/7620MB (lfb 13x4MB) SWAP 0/3810MB (cached 0MB) CPU [2%@1190,1%@1190,0%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] cpu@49.531C soc2@48.187C gpu@48.062C tj@49.531C "
    "VDD_IN 4927mW/4900mW VDD_CPU_GPU_CV 493mW/480mW VDD_SOC 1406mW/1406mW"
)
JETPACK_4 = (
    "RAM 1800/3964MB (lfb 2x4MB) CPU [10%@1479,off,5%@1479] GR3D_FREQ 0%@76 PMIC@100C POM_5V_IN 2750/2700 "
    "POM_5V_GPU 80/80"
)


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (JETPACK_6, {"VDD_IN": 4.927, "VDD_CPU_GPU_CV": 0.493, "VDD_SOC": 1.406}),
        (JETPACK_4, {"POM_5V_IN": 2.75, "POM_5V_GPU": 0.08}),
        ("", {}),
    ],
)
def test_a_jetson_without_power_files_is_asked_by_tegrastats_which_is_ended_after_a_line(
    board: Path, line: str, rails: dict[str, float]
) -> None:
    file = board / "usr/bin/tegrastats"
    file.parent.mkdir(parents=True)
    file.write_text(f'#!/bin/sh\necho $$ >"{board}/number"\necho "{line}"\nexec sleep 60\n')
    file.chmod(0o755)
    seen = look(board)
    assert seen.rails == rails
    assert seen.watts == (None if not rails else max(rails.values()))
    assert not Path("/proc", (board / "number").read_text().strip()).exists()


class Jtop:
    """A stand-in for the client of jetson-stats."""

    power: ClassVar[dict[str, object]] = {
        "rail": {"VDD_IN": {"volt": 5000, "curr": 980, "power": 4900}, "VDD_SOC": {"power": 1400}},
        "tot": {"power": 4900},
    }

    def __init__(self, interval: float) -> None:
        assert interval > 0

    def __enter__(self) -> "Jtop":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to release."""

    def ok(self) -> bool:
        """Say that an answer has come."""
        return True


class Broken(Jtop):
    """One whose service is of another version."""

    def __enter__(self) -> "Broken":
        raise RuntimeError("mismatch version jtop service")


@pytest.mark.parametrize(("client", "rails"), [(Jtop, {"VDD_IN": 4.9, "VDD_SOC": 1.4}), (Broken, {})])
def test_jetson_stats_is_asked_where_its_service_runs_and_the_files_tell_no_power(
    board: Path, monkeypatch: pytest.MonkeyPatch, client: type[Jtop], rails: dict[str, float]
) -> None:
    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=client))
    assert look(board).rails == {}, "without its service it is not asked"
    (board / "run").mkdir(parents=True)
    monkeypatch.chdir(board)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as service:
        service.bind("run/jtop.sock")
        seen = look(board)
    assert seen.rails == rails
    assert seen.watts == rails.get("VDD_IN")


def test_a_tegrastats_that_cannot_run_tells_nothing(board: Path) -> None:
    capture(board, {"usr/bin/tegrastats": "not a program"})
    assert look(board).rails == {}


def test_the_clock_of_a_jetsons_gpu_is_read(board: Path) -> None:
    capture(board, {"sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n"})
    assert look(board).gpu_hz == 306_000_000


def test_the_power_of_an_agx_orin_is_the_sum_of_its_three_rails() -> None:
    rails = {"VDD_GPU_SOC": 4.0, "VDD_CPU_CV": 1.0, "VIN_SYS_5V0": 3.5}
    assert module_watts({**rails, "VDDQ_VDD2_1V8AO": 0.7}) == 8.5
    assert module_watts({"VDD_GPU_SOC": 4.0}) is None


def test_zones_that_do_not_name_the_chip_still_give_a_temperature(board: Path) -> None:
    capture(board, {f"{THERMAL}/thermal_zone0/type": "acpitz\n", f"{THERMAL}/thermal_zone0/temp": "40000\n"})
    assert look(board).celsius == 40.0


def test_a_machine_that_tells_nothing_has_nothing_invented(board: Path) -> None:
    board.mkdir()
    seen = look(board)
    assert temperatures(board) == {}
    assert (seen.celsius, seen.watts, seen.clock_hz, seen.written_bytes) == (None, None, None, None)
    assert seen.throttling == Throttling(None)


def test_this_machine_tells_its_memory_and_disk_writes() -> None:
    seen = look()
    assert seen.memory_available_bytes is not None
    assert seen.memory_available_bytes > 1 << 20
    assert seen.process_bytes is not None
    assert seen.process_bytes > 1 << 20
    assert seen.written_bytes is not None
