"""``kdlight-edge demo``: pictures, a folder run, a camera run, a table, and where it all lies."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from kdlight_edge.cli import main
from kdlight_edge.commands import demo
from kdlight_edge.tally import Tally


def test_the_demo_writes_everything_it_says_and_prints_a_table(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PICTURES", 12)
    model = str(tiny_bundle())
    assert main(["demo", "--out", str(tmp_path / "out"), "--model", model, "--frames", "20"]) == 0
    out = capfd.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["folder", "12"] in [row[:2] for row in rows]
    assert any(row[:1] == ["camera"] for row in rows)
    assert "folder.jsonl, camera.jsonl, contact_sheet.png" in out
    folder = [json.loads(line) for line in (tmp_path / "out/folder.jsonl").read_text().splitlines()]
    camera = [json.loads(line) for line in (tmp_path / "out/camera.jsonl").read_text().splitlines()]
    assert len(folder) == 12
    assert sum(1 + line["dropped"] for line in camera) == 20
    assert len(list((tmp_path / "out/pictures/crack").iterdir())) == 6
    assert cv2.imread(str(tmp_path / "out/contact_sheet.png")) is not None


def test_the_demo_finds_the_bundle_of_the_checkout_it_stands_in(
    tmp_path: Path, tiny_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    tiny_bundle(folder=tmp_path / "models", name="surface-crack")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "PICTURES", 3)
    assert main(["demo", "--frames", "2"]) == 0
    assert "surface-crack 1 on onnxruntime" in capfd.readouterr().out
    assert (tmp_path / "demo-out/contact_sheet.png").exists()


def test_without_a_bundle_the_demo_says_where_to_get_one(
    tmp_path: Path, tiny_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    tiny_bundle(folder=tmp_path / "models", name="other")
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 5
    assert "give --model NAME.kdl" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert main(["demo", "--out", str(tmp_path / "out"), "--model", str(tiny_bundle())]) == 1
    assert "choose another --out" in capfd.readouterr().err


def test_a_stop_ends_the_writing_of_pictures(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    demo.write_pictures(tmp_path, stop)
    assert len(list(tmp_path.rglob("*.jpg"))) == 1


def test_a_figure_that_was_not_measured_is_a_dash() -> None:
    header, row = demo.table({"folder": Tally().summary(0.0)})
    assert header.split()[:2] == ["run", "pictures"]
    assert row.split() == ["folder", "0", "-", "-", "-", "0", "-", "-", "-", "-"]
