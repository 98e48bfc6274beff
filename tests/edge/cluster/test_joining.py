"""Clusters that are away, that start too slowly, and archives that are none."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra archive is not installed")
pytest.importorskip("pyarrow.parquet")

from kdlight_edge import cluster
from kdlight_edge.cli import main
from kdlight_edge.cluster import pool
from kdlight_edge.errors import SourceError
from tests.edge.ports import free_port


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    cv2.imwrite(str(tmp_path / "archive" / "a.png"), np.zeros((40, 40, 3), np.uint8))
    return tmp_path / "archive"


def test_a_cluster_that_is_not_there_is_told_in_a_line(
    one: Path, tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["infer", "--folder", str(one), "--model", str(tiny_bundle()), "--out", str(one.parent / "out")]
    port = free_port()
    assert main([*command, "--cluster", f"ray://127.0.0.1:{port}"]) == 6
    assert f"the cluster ray://127.0.0.1:{port} cannot be reached: Connection refused" in capsys.readouterr().err
    assert main([*command, "--cluster", "elsewhere"]) == 2
    assert "--cluster elsewhere is no cluster; give local, ray://HOST:10001 or HOST:6379" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, pool.__name__)
    monkeypatch.delattr(cluster, "pool")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*command, "--cluster", "local"]) == 1
    assert "ray is not installed; pip install 'kdlight-edge[archive]' brings it" in capsys.readouterr().err


@pytest.mark.parametrize("failures", [pool.STARTS - 1, pool.STARTS])
def test_a_cluster_that_starts_too_slowly_is_begun_again_and_at_last_told_of(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def init(**settings: Any) -> None:
        tried.append(settings["address"])
        if len(tried) <= failures:
            raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if failures < pool.STARTS:
        with pool.joined("local", 2) as workers:
            assert workers == 2
    else:
        with pytest.raises(SourceError, match=r"--cluster local: Ray does not start here \(The current"):
            pool.joined("local", 2).__enter__()
    assert tried == ["local"] * pool.STARTS
    assert not list(tmp_path.iterdir())


def test_what_is_no_archive_and_answers_of_another_bundle_are_refused(
    one: Path, tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    empty, out = one.parent / "empty", one.parent / "out"
    empty.mkdir()
    model = str(tiny_bundle())
    run = ["infer", "--cluster", "local", "--out", str(out), "--model", model]
    assert main([*run, "--folder", str(empty)]) == 6
    assert "holds no pictures" in capsys.readouterr().err
    for more, said in (
        (["--camera", "scene:crack"], "--camera says nothing beside --cluster"),
        (["--source", str(one)], "--source says nothing beside --cluster"),
        (["--folder", str(one), "--mqtt", "mqtt://h"], "--mqtt says nothing beside --cluster"),
        (["--folder", str(one), "--retries", "0"], "--retries says nothing beside --cluster"),
    ):
        assert main([*run, *more]) == 2
        assert said in capsys.readouterr().err
    assert main(["infer", "--cluster", "local", "--folder", str(one), "--model", model]) == 2
    assert main(["infer", "--out", str(out), "--folder", str(one), "--model", model]) == 2
    capsys.readouterr()
    from kdlight_edge.cluster.parts import Parts

    parts = Parts(out, {"bundle": "other 1 0123", "folder": str(one), "conf": None, "topk": 1})
    pa = pytest.importorskip("pyarrow")
    from kdlight_edge.cluster.parts import COLUMNS

    row = {"key": "a.png", "frame": 0, "decision": "accepted", "reason": "", "decided": 0, "engine": "e"}
    parts.add(pa.Table.from_pylist([{**row, "precision": "fp32", "bundle": "other 1", "digest": "0"}], COLUMNS))
    parts.flush()
    parts.close()
    assert main([*run, "--folder", str(one)]) == 5
    assert "another bundle (other 1 0123) than this run (tiny 1 " in capsys.readouterr().err
