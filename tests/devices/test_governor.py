"""The governor of the frame rate, on a simulated board that heats up with the work it does."""

from pathlib import Path

import pytest

from kdlight_devices.governor import BAND, LEAST, PERIOD, Governor, Limits, limits, step
from kdlight_devices.heat import Throttling

COOL = Throttling(now=False)


class Chip:
    """Heat as a first-order system: each frame a second adds to where the temperature goes, the fan sets how far."""

    def __init__(self, ambient: float, per_frame: float, throttles_at: float = 80.0) -> None:
        self.celsius = self.ambient = ambient
        self.per_frame, self.throttles_at = per_frame, throttles_at

    def work(self, fps: float) -> None:
        """Let it work for a second."""
        self.celsius += (self.ambient + self.per_frame * fps - self.celsius) / 60

    @property
    def throttling(self) -> Throttling:
        """Whether it slows itself down."""
        hot = self.celsius >= self.throttles_at
        return Throttling(now=hot, reasons=("throttled",) if hot else ())


def live(chip: Chip, governor: Governor | None, seconds: int, camera: float = 30.0) -> list[tuple[float, float, bool]]:
    """Return rate, temperature and throttling of each second."""
    log, rate = [], camera
    for second in range(seconds):
        limit = None if governor is None else governor.look(float(second), rate, chip.celsius, chip.throttling)
        rate = camera if limit is None else min(camera, limit)
        chip.work(rate)
        log.append((rate, chip.celsius, chip.throttling.now is True))
    return log


def test_a_board_that_would_throttle_at_full_rate_never_does_under_the_governor() -> None:
    without = live(Chip(35.0, 1.9), None, 1200)
    assert any(throttled for *_, throttled in without)
    log = live(Chip(35.0, 1.9), Governor(Limits(75.0)), 1200)
    assert not any(throttled for *_, throttled in log)
    assert min(rate for rate, *_ in log) > 10
    assert max(celsius for _, celsius, _ in log) < 80


def test_the_rate_comes_back_when_the_board_has_cooled_and_the_limit_is_gone() -> None:
    governor = Governor(Limits(75.0))
    live(Chip(35.0, 1.9), governor, 600)
    assert governor.limit is not None
    seen: float | None = governor.limit
    for second in range(300):
        seen = governor.look(1000.0 + second, 30.0 if seen is None else min(30.0, seen), 40.0, COOL)
    assert seen is None


def test_between_brake_and_release_nothing_changes() -> None:
    held = Limits(75.0)
    assert step(20.0, 20.0, 75.0 - BAND / 2, False, held) == 20.0  # noqa: FBT003 - a reading
    assert step(None, 30.0, 75.0 - BAND / 2, False, held) is None  # noqa: FBT003


def test_a_board_that_is_throttled_already_is_relieved_at_any_temperature() -> None:
    assert step(None, 30.0, 50.0, True, Limits(75.0)) == pytest.approx(24.0)  # noqa: FBT003
    assert step(None, 30.0, None, True, Limits(75.0)) == pytest.approx(24.0)  # noqa: FBT003


def test_a_board_that_tells_nothing_is_left_alone() -> None:
    assert step(None, 30.0, None, None, Limits(75.0)) is None


def test_one_frame_a_second_is_always_left() -> None:
    governor = Governor(Limits(75.0))
    for second in range(1000):
        governor.look(float(second), governor.limit or 30.0, 95.0, COOL)
    assert governor.limit == LEAST


def test_the_most_is_never_exceeded_and_comes_back_after_heat() -> None:
    governor = Governor(Limits(75.0, most=15.0))
    assert governor.look(0.0, 0.0, 40.0, COOL) == 15.0
    assert governor.look(PERIOD, 15.0, 80.0, COOL) == pytest.approx(12.0)
    seen = [governor.look(2 * PERIOD + second, 12.0, 40.0, COOL) for second in range(60)]
    assert seen[-1] == 15.0
    assert max(value for value in seen if value is not None) == 15.0


def test_a_most_below_what_is_always_left_is_not_exceeded_on_a_hot_board_either() -> None:
    governor = Governor(Limits(75.0, most=0.2))
    assert [governor.look(PERIOD * turn, 0.2, 80.0, COOL) for turn in range(3)] == [0.2, 0.2, 0.2]
    assert step(1.2, 1.2, 80.0, False, Limits(75.0, most=1.2)) == LEAST  # noqa: FBT003 - a reading


def test_a_step_waits_for_what_the_last_one_did() -> None:
    governor = Governor(Limits(75.0))
    first = governor.look(0.0, 30.0, 80.0, COOL)
    assert governor.look(PERIOD - 0.1, 24.0, 80.0, COOL) == first
    assert governor.look(PERIOD, 24.0, 80.0, COOL) != first


def test_a_raspberry_pi_brakes_below_where_its_firmware_does(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert limits(tmp_path).brake < 80
