"""A contact sheet is at its place whole, or the older one stays there."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main


def test_a_full_disk_leaves_the_older_sheet_as_it_was(
    tmp_path: Path, tiny_bundle: Callable[..., Path], disk_of: Callable[[int], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    disk = disk_of(64)
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(1)
    for name in "abcdefgh":
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), rng.integers(0, 256, (200, 200, 3), np.uint8))
    (disk / "older").write_bytes(b"older")
    (disk / "s.png").symlink_to("older")
    words = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--sheet", str(disk / "s.png")]
    assert main(words) == 1
    assert "s.png cannot be written: No space left on device" in capfd.readouterr().err
    assert sorted(path.name for path in disk.iterdir()) == ["older", "s.png"]
    assert (disk / "s.png").read_bytes() == b"older"


def test_a_sheet_behind_a_link_stays_behind_it(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), (0, 0, 220), np.uint8))
    (tmp_path / "link.webp").symlink_to("real.webp")
    words = ["infer", "--folder", str(tmp_path / "a.png"), "--model", str(tiny_bundle())]
    assert main([*words, "--sheet", str(tmp_path / "link.webp")]) == 0
    assert (tmp_path / "link.webp").is_symlink()
    assert cv2.imread(str(tmp_path / "real.webp")) is not None
