"""Sinks of lines: whole whatever happens, and tables that spreadsheets read."""

import contextlib
import csv
import dataclasses
import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.decide import Voted, failed, to_record
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Unreadable
from kdlight_edge.sinks.csv import COLUMNS, Csv
from kdlight_edge.sinks.jsonl import JsonLines
from kdlight_edge.sinks.lines import Lines, open_lines
from kdlight_edge.sinks.text import Text
from tests.edge.results import NOW, prediction

# Lines


@pytest.mark.parametrize("origin", [{}, {"engine": "fake", "bundle": {"name": "x\u00e9"}, "throttled": None}])
def test_a_line_that_is_put_together_is_the_one_that_json_makes(tmp_path: Path, origin: dict[str, Any]) -> None:
    many = [
        prediction('in/\u00fc "quoted"\udc80.jpg'),
        prediction(decision="abstained"),
        failed(Unreadable('damaged "JPEG"', NOW, "cam", 4)),
        dataclasses.replace(prediction(), probability=1e-7, outlier=12345.678949, milliseconds=None, top=()),
        dataclasses.replace(prediction(), milliseconds={"decode": 0.1234567, "infer": 1e22}),
        dataclasses.replace(prediction(), vote=Voted("open", "frames of 0.1 s")),
        dataclasses.replace(prediction(), scan={"modality": "DX"}),
    ]
    path = tmp_path / "lines"
    sink = JsonLines(open_lines(path, at_once=True), origin)
    for throttled in (None, True):
        if origin:
            origin["throttled"] = throttled  # as `Pulse` does while a run goes on
        for one in many:
            sink.write(one, None)
    sink.close()
    expected = [
        json.dumps(to_record(one, {**origin, "throttled": t} if origin else {})) for t in (None, True) for one in many
    ]
    assert path.read_text().splitlines() == expected


def test_lines_are_held_back_for_a_folder_and_written_at_close(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = open_lines(path, at_once=False)
    lines.write("one")
    assert path.read_bytes() == b""
    lines.close()
    lines.close()
    assert path.read_bytes() == b"one\n"


def test_a_line_of_a_camera_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = open_lines(path, at_once=True)
    lines.write("one")
    assert path.read_bytes() == b"one\n"
    lines.close()


def test_many_lines_are_written_before_they_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = open_lines(path, at_once=False)
    for _ in range(500):
        lines.write("x" * 99)
    assert path.stat().st_size >= 32 << 10
    lines.close()
    assert path.stat().st_size == 50_000


def test_a_full_disk_is_one_clear_error() -> None:
    lines = open_lines("/dev/full", at_once=True)
    with pytest.raises(KDLightError, match=r"/dev/full cannot be written: No space left on device"):
        lines.write("one")
    lines.close()


def test_a_line_that_does_not_fit_any_more_is_taken_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    script = (
        "import resource\nfrom kdlight_edge.sinks.lines import open_lines\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"lines = open_lines({str(path)!r}, at_once=False)\n"
        "for i in range(200): lines.write(f'{i:030}')\n"
        "lines.close()\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "KDLightError" in done.stderr
    written = path.read_text(encoding="ascii").splitlines(keepends=True)
    assert len(written) == 32
    assert all(line.endswith("\n") for line in written)


def test_a_file_in_no_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(KDLightError, match="No such file or directory; name a file"):
        open_lines(tmp_path / "none" / "x.jsonl", at_once=True)


def test_a_reader_that_went_away_is_a_broken_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = Lines(writing, "stdout", at_once=True, owned=True)
    with pytest.raises(BrokenPipeError):
        lines.write("one")
    lines.close()


# JSON, CSV, text


def test_a_json_line_holds_the_whole_record_and_survives_any_file_name(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLines(open_lines(path, at_once=True), {"engine": "fake", "throttled": None})
    name = os.fsdecode(b'in/\xff\n"\xc3\xa4.jpg')
    sink.write(prediction(name), None)
    sink.write(failed(Unreadable("empty file", NOW, "in/b.jpg", 4)), None)
    sink.close()
    first, second = (json.loads(line) for line in path.read_text(encoding="ascii").splitlines())
    assert first["source"] == name
    assert (first["label"], first["age_ms"], first["dropped"], first["engine"]) == ("crack", 500.0, 2, "fake")
    assert (second["decision"], second["reason"], second["label"]) == ("error", "empty file", None)


def test_a_table_has_a_header_and_a_row_for_each_picture(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    sink = Csv(open_lines(path, at_once=False))
    sink.write(prediction('in/a, "b".jpg'), None)
    sink.write(failed(Unreadable("empty file", NOW, "in/b.jpg", 4)), None)
    sink.close()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["source"] == 'in/a, "b".jpg'
    assert (rows[0]["label"], rows[0]["probability"], rows[0]["age_ms"]) == ("crack", "0.9", "500.0")
    assert (rows[1]["label"], rows[1]["decision"], rows[1]["reason"]) == ("", "error", "empty file")


@pytest.mark.parametrize("name", ["in/a\nb.jpg", "in/a\rb.jpg", "in/a\r\n.jpg", 'in/"\n'])
def test_a_name_with_line_breaks_is_one_row_of_a_table(tmp_path: Path, name: str) -> None:
    sink = Csv(open_lines(tmp_path / "out.csv", at_once=True))
    for source in (name, "in/c.jpg"):
        sink.write(prediction(source), None)
    sink.close()
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["dropped"]) for row in rows] == [(name, "2"), ("in/c.jpg", "2")]
    assert b",2,,,\n" in (tmp_path / "out.csv").read_bytes()


def test_a_row_that_a_full_disk_refuses_does_not_come_again_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = Csv(open_lines(tmp_path / "out.csv", at_once=True))
    for source in ("lost header", "in/a.jpg", "lost row", "in/b.jpg"):
        with monkeypatch.context() as disk:
            if source.startswith("lost"):
                disk.setattr(os, "write", full)
            with contextlib.suppress(KDLightError):
                sink.write(prediction(source), None)
    sink.close()
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == ["in/a.jpg", "in/b.jpg"]
    assert b"\r" not in (tmp_path / "out.csv").read_bytes()


def test_a_line_for_people_is_short_and_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out"
    sink = Text(open_lines(path, at_once=True), numbered=False)
    sink.write(prediction("in/a\nb.jpg"), None)
    sink.write(failed(Unreadable("empty file", NOW, "in/b.jpg", 4)), None)
    sink.close()
    assert path.read_text(encoding="utf-8").splitlines() == [
        "'in/a\\nb.jpg'  crack 0.900  no_crack 0.100  accepted",
        "in/b.jpg  -  error  empty file",
    ]


def test_a_line_about_a_camera_tells_the_number_of_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "out"
    sink = Text(open_lines(path, at_once=True), numbered=True)
    sink.write(prediction("0", index=12), None)
    sink.close()
    assert path.read_text(encoding="utf-8").startswith("0 #12  crack")
