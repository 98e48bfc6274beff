"""A contact sheet shows a run of any length; it is at its place whole, or the older one stays there."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdlight_edge.classifier import Classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import failed
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Unreadable
from kdlight_edge.sinks import ink
from kdlight_edge.sinks.sheet import CARD_WIDTH, TILE, Sheet
from tests.edge.results import NOW, frame


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


def sheet_of(path: Path, classifier: Classifier, count: int, *, tiles: int = 24) -> Sheet:
    sheet = Sheet(path, classifier, tiles=tiles)
    for index in range(count):
        picture = np.full((30, 40, 3), (220, 0, 0) if index % 2 else (0, 220, 0), np.uint8)
        item = frame(picture, index=index, truth="crack" if index % 2 else "no_crack")
        sheet.write(classifier.classify(item), item)
    return sheet


def test_a_sheet_shows_its_pictures_in_a_grid(tmp_path: Path, classifier: Classifier) -> None:
    path = tmp_path / "sheet.png"
    sheet_of(path, classifier, 7).close()
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    assert picture.shape[1] > 6 * CARD_WIDTH
    green = (np.abs(picture.astype(int) - (0, 220, 0)).max(axis=2) < 12).sum()
    assert green > 3 * TILE * TILE * 0.9
    assert (picture[0, 0] == ink.PAPER).all()


@pytest.mark.parametrize("count", [1, 5, 24, 25, 200])
def test_a_sheet_of_a_run_of_any_length_holds_pictures_from_its_beginning_to_its_end(
    tmp_path: Path, classifier: Classifier, count: int
) -> None:
    sheet = sheet_of(tmp_path / "sheet.png", classifier, count, tiles=12)
    assert min(count, 12) <= len(sheet._kept) < 24
    kept = [tile.prediction.index for tile in sheet._kept]
    assert kept[0] == 0
    assert kept[-1] >= count - 2 * max(1, count // 12)
    sheet.close()
    assert (tmp_path / "sheet.png").exists()


def test_the_heat_lies_where_the_network_sees_the_positive_class(tmp_path: Path, classifier: Classifier) -> None:
    picture = np.full((64, 64, 3), (0, 160, 0), np.uint8)
    picture[:, 32:] = (230, 0, 0)
    sheet = Sheet(tmp_path / "sheet.png", classifier)
    item = frame(picture)
    sheet.write(classifier.classify(item), item)
    (heat,) = sheet._heat(sheet._kept)
    assert heat.shape == (TILE, TILE)
    assert heat[:, TILE // 2 + 12 :].min() > 0.8
    assert heat[:, : TILE // 2 - 12].max() == 0


def test_a_run_without_pictures_draws_no_sheet(tmp_path: Path, classifier: Classifier) -> None:
    sheet = Sheet(tmp_path / "sheet.png", classifier)
    sheet.write(failed(Unreadable("empty file", NOW, "x", 0)), None)
    sheet.close()
    assert not (tmp_path / "sheet.png").exists()


def test_a_sheet_that_cannot_be_written_is_one_clear_error(classifier: Classifier) -> None:
    with pytest.raises(KDLightError, match=r"cannot be written: No space left"):
        sheet_of(Path("/dev/full"), classifier, 2).close()
