"""The folder of answers: whole files, one bundle, one writer."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="the extra archive is not installed")
pq = pytest.importorskip("pyarrow.parquet")

from kdlight_edge.cluster.parts import COLUMNS, Parts
from kdlight_edge.errors import BundleError, KDLightError

ORIGIN = {"bundle": "tiny 1 abc", "folder": "/archive", "conf": None, "topk": 1}


def rows(*keys: str, decision: str = "accepted") -> Any:
    same = {"frame": 0, "decision": decision, "reason": "", "decided": 0, "engine": "fake", "precision": "fp32"}
    return pa.Table.from_pylist([{"key": key, **same, "bundle": "tiny 1", "digest": "abc"} for key in keys], COLUMNS)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    parts = Parts(tmp_path / "out", ORIGIN)
    parts.add(rows("a.png", "b.png"))
    parts.add(rows("c.png", decision="error"))
    parts.flush()
    parts.close()
    return tmp_path / "out"


def test_what_was_written_is_known_to_the_next_run(written: Path) -> None:
    parts = Parts(written, ORIGIN)
    assert parts.held.keys == {"a.png", "b.png", "c.png"}
    assert parts.held.decisions == {"accepted": 2, "error": 1}
    parts.close()
    assert all(pq.read_schema(file).equals(COLUMNS) for file in written.glob("part-*.parquet"))


def test_what_is_held_is_written_at_the_end_and_nothing_makes_no_file(tmp_path: Path) -> None:
    parts = Parts(tmp_path, ORIGIN)
    parts.flush()
    assert (parts.count, list(tmp_path.glob("*.parquet"))) == (0, [])
    parts.add(rows("a.png"))
    parts.flush()
    assert (parts.count, len(list(tmp_path.glob("*.parquet")))) == (1, 1)
    parts.close()
    parts.close()


def test_the_half_of_a_file_that_a_killed_run_left_is_removed_and_not_read(written: Path) -> None:
    (written / ".part-20260101T000000Z-0badcafe.parquet").write_bytes(b"PAR1 half")
    parts = Parts(written, ORIGIN)
    parts.close()
    assert [file.name for file in written.glob(".part*")] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bundle": "tiny 2 def"}, "another bundle (tiny 1 abc) than this run (tiny 2 def)"),
        ({"folder": "/other"}, "another folder (/archive) than this run (/other)"),
        ({"conf": 0.9}, "another conf (none) than this run (0.9)"),
    ],
)
def test_a_folder_of_other_answers_is_refused(written: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError) as refused:
        Parts(written, {**ORIGIN, **change})
    assert said in str(refused.value)
    assert "give another --out" in str(refused.value)


def test_parquet_that_is_not_ours_and_files_that_are_damaged_are_refused(written: Path) -> None:
    pq.write_table(pa.table({"key": ["x"]}), written / "part-foreign.parquet")
    with pytest.raises(BundleError, match="another schema"):
        Parts(written, ORIGIN)
    (written / "part-foreign.parquet").write_bytes(b"torn")
    with pytest.raises(KDLightError, match="move it away"):
        Parts(written, ORIGIN)


def test_one_process_at_a_time_writes_a_folder(tmp_path: Path) -> None:
    first = Parts(tmp_path, ORIGIN)
    with pytest.raises(KDLightError, match="being written by another"):
        Parts(tmp_path, ORIGIN)
    first.close()
    Parts(tmp_path, ORIGIN).close()


def test_a_share_that_knows_no_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    parts = Parts(tmp_path, ORIGIN)
    parts.add(rows("a.png"))
    parts.flush()
    parts.close()
    assert len(list(tmp_path.glob("part-*.parquet"))) == 1


def test_a_disk_that_refuses_leaves_what_was_written_whole(written: Path) -> None:
    parts = Parts(written, ORIGIN)
    parts.add(rows("d.png"))
    away = written.rename(written.with_name("away"))
    with pytest.raises(KDLightError, match="run again, it goes on"):
        parts.flush()
    parts.close()
    assert len(list(away.glob("*.parquet"))) == 1
