"""Known boards are compared with in both directions, and only where machine, bundle, engine and clocks are the same."""

import dataclasses
from pathlib import Path

import pytest

from scripts.desk.reference import Row, compare, read_references, write_rows

ROOT = Path(__file__).resolve().parents[2]
ROW = Row(
    "pi-5", "Raspberry Pi 5", "", "deployed", "surface-crack", "0" * 16, "onnxruntime", "fp32", "1", "a.p90", 4.0, "ms",
    "lower", "", "0.1.0", "2026-11-01T00:00:00+00:00", "a command",
)  # fmt: skip


def with_(**changes: object) -> Row:
    return dataclasses.replace(ROW, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "better", "verdict"),
    [
        (8.0, "lower", "worse"),
        (2.0, "lower", "better"),
        (8.0, "higher", "better"),
        (2.0, "higher", "worse"),
        (4.3, "lower", "alike"),
        (3.7, "lower", "alike"),
    ],
)
def test_better_and_worse_are_both_told(value: float, better: str, verdict: str) -> None:
    (found,) = compare([with_(value=value, better=better)], [with_(better=better)])
    assert (found.verdict, found.ratio) == (verdict, value / 4)


@pytest.mark.parametrize("name", ["board", "cpu", "power_mode", "clocks", "bundle", "engine", "precision", "threads"])
def test_figures_of_different_machines_are_not_compared(name: str) -> None:
    assert compare([ROW], [with_(**{name: "another"})]) == []


def test_the_newest_reference_counts_and_another_digest_is_told() -> None:
    newer = with_(value=5.0, digest="1" * 16, date="2026-11-02T00:00:00+00:00")
    (found,) = compare([ROW], [newer, ROW])
    assert (found.reference, found.note) == (5.0, "the reference is of the bundle 1111111111111111")


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    write_rows(tmp_path / "pi-5.csv", [ROW, with_(figure="b.640x480.p50")], "a Raspberry Pi 5 on a desk")
    assert read_references(tmp_path) == [ROW, with_(figure="b.640x480.p50")]


@pytest.mark.parametrize(
    ("text", "said"),
    [("board,value\npi-5,1\n", "has the columns"), (",".join(["x"] * 17) + "\n", "has the columns")],
)
def test_a_file_with_other_columns_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "odd.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"odd\.csv {said}"):
        read_references(tmp_path)


def test_a_value_that_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "pi.csv", [ROW], "a remark")
    file = tmp_path / "pi.csv"
    file.write_text(file.read_text().replace(",4.0,", ",fast,"))
    with pytest.raises(ValueError, match=r"pi\.csv, line 2: could not convert"):
        read_references(tmp_path)


def test_the_references_of_this_repository_can_be_read() -> None:
    rows = read_references(ROOT / "devices/reference")
    assert rows
    assert {row.board for row in rows} <= {"x86", "x86-vnni", "other"}, "a Pi or a Jetson only when it was measured"
