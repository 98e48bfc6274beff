"""An inspection meets odd files, odd names, readers that go away and older reports, and is whole at its end."""

import csv
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.cli import main

MODEL = str(Path(__file__).resolve().parents[2] / "models" / "surface-crack.kdl")
COMMAND = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--model", MODEL, "--tiles", "64"]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).integers(90, 200, (96, 128, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    return path


def inspect(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "--folder", str(folder), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def lines(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> tuple[int, list[dict[str, Any]]]:
    code = main(["infer", "--model", MODEL, "--tiles", "64", "--json", "--folder", str(folder), *map(str, words)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_pipes_among_the_pictures_and_beside_them_are_not_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.pgw")  # where a world file would be
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("b.png")
    ran = inspect(tmp_path)
    first, second, third = ran.stdout.splitlines()
    told = f"kdlight-edge: {tmp_path} also holds files that are not read as pictures: 1 .pgw\n"
    assert (ran.returncode, ran.stderr) == (1, told)
    assert "tiles judged" in first
    assert second == f"{tmp_path}/b.png  error: not a file: it cannot be read like one"
    assert third == f"{tmp_path}/c.png  error: not a file: it cannot be read like one"


def test_a_damaged_tiff_is_told_in_words_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra survey is not installed")
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((64, 64, 3), np.uint8), compression="zlib", photometric="rgb")
    whole = (tmp_path / "c.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:8])
    (tmp_path / "b.tif").write_bytes(whole[:4])
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        at = file.pages[0].dataoffsets[0]
    (tmp_path / "c.tif").write_bytes(whole[:at] + bytes(4) + whole[at + 4 :])
    code, told = lines(capsys, tmp_path)
    assert code == 1
    assert [line["reason"] for line in told] == [
        "truncated or damaged TIFF file: what should describe its picture is not there",
        "damaged TIFF file: its header cannot be read",
        "damaged TIFF file: strip or tile 0 cannot be unpacked",
    ]


def test_an_orthomosaic_with_numbers_of_another_system_has_no_place_and_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/a.pgw").write_text("0.1\n0\n0\n-0.1\n5000000000000\n1200000\n")
    code, (line,) = lines(capsys, tmp_path / "in", "--epsg", "32632", "--geojson", tmp_path / "map.geojson")
    assert (code, line["mm_per_pixel"]) == (0, None)
    assert line["note"] == "its georeference lies outside of EPSG 32632, so its numbers are of another system"
    (feature,) = json.loads((tmp_path / "map.geojson").read_text(encoding="utf-8"))["features"]
    assert feature["geometry"] is None


def test_a_picture_too_large_to_be_decoded_at_once_is_told_what_it_has_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(picture(tmp_path / "in/a.png").read_bytes())
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "in/a.png").write_bytes(content)
    code, (line,) = lines(capsys, tmp_path / "in")
    assert code == 1
    assert line["reason"].endswith("infer --tiles reads such a picture as a TIFF of strips or tiles")


def test_names_that_are_no_text_end_no_inspection_and_stand_in_every_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, table = tmp_path / "in", tmp_path / "out", tmp_path / "table.csv"
    picture(folder / "a.png").rename(folder / os.fsdecode(b"b\xff.png"))
    (folder / "c.png").write_bytes(b"dear sir")
    (folder / "c.png").rename(folder / os.fsdecode(b"c\xff.png"))
    code, told = lines(capsys, folder, "--report", out, "--csv", table, "--geojson", tmp_path / "map.geojson")
    assert code == 1
    assert [os.fsencode(line["source"]) for line in told] == [
        bytes(folder) + b"/b\xff.png",
        bytes(folder) + b"/c\xff.png",
    ]
    for path in (table, out / "surfaces.csv", out / "surfaces.jsonl", out / "surfaces.geojson", out / "index.html"):
        assert all(rf"{name}\udcff.png" in path.read_text(encoding="utf-8") for name in "bc")


def test_a_picture_that_is_called_like_a_part_of_the_page_is_only_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in/{{SECTIONS}}.png")
    picture(tmp_path / "in/{{FACTS}}.png")
    assert lines(capsys, tmp_path / "in", "--report", tmp_path / "out")[0] == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert ">{{SECTIONS}}.png</a>" in page
    assert (page.count("<figure"), page.count("inspected and clean")) == (2, 1)
    assert "<h1>Inspection: 2 pictures</h1>" in page


def test_every_link_of_a_page_leads_somewhere_also_to_pictures_without_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdlight_edge.survey.page.CARDS", 2)
    for name in "abcd":
        path = picture(tmp_path / f"in/{name}.png")
        path.with_suffix(".pgw").write_text("0.1\n0\n0\n-0.1\n500000\n5000000\n")
    (tmp_path / "in/e.png").write_bytes(b"dear sir")
    assert lines(capsys, tmp_path / "in", "--report", tmp_path / "out", "--epsg", "32632")[0] == 1
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) == 4 + 4 + 2  # rows of the table, dots of the map, cards
    for link in links:
        assert f'id="{link[1:]}"' in page if link.startswith("#") else (tmp_path / "out" / link).is_file()


def test_a_name_with_line_breaks_is_one_row_of_a_table_and_one_line_for_people(tmp_path: Path) -> None:
    folder, table = tmp_path / "in", tmp_path / "table.csv"
    paths = [f"{folder}/{name}" for name in ("a\nb.png", "a\rb.png", 'a, "b".png', os.fsdecode(b"b\xff.png"))]
    for path in paths:
        picture(Path(path))
    ran = inspect(folder, "--csv", table)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = [line.partition(".png")[0] for line in ran.stdout.splitlines()]
    assert told == [f"'{folder}/a\\nb", f"'{folder}/a\\rb", f'{folder}/a, "b"', f"'{folder}/b\\udcff"]
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [*paths[:3], rf"{folder}/b\udcff.png"]
    assert {row["label"] for row in rows} == {"crack"}


def test_a_name_that_the_terminals_encoding_has_not_ends_no_inspection(tmp_path: Path) -> None:
    picture(tmp_path / "brücke.png")
    picture(tmp_path / "deck.png")
    command, env = [*COMMAND, "--folder", str(tmp_path)], {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    first, second = ran.stdout.splitlines()
    assert first.startswith(rf"{tmp_path}/br\xfccke.png  Crack")
    assert second.startswith(f"{tmp_path}/deck.png  Crack")


@pytest.mark.parametrize("flag", ["--csv", "--geojson"])
def test_a_full_disk_is_told_with_the_name_of_what_is_on_it(flag: str, tmp_path: Path) -> None:
    ran = inspect(picture(tmp_path / "in/a.png").parent, flag, "/dev/full")
    said = "kdlight-edge: /dev/full cannot be written: No space left on device; make room or choose another place\n"
    assert (ran.returncode, ran.stderr) == (1, said)


def test_a_disk_that_is_full_at_a_picture_leaves_a_page_of_what_was_told_and_no_half_of_anything(
    tmp_path: Path,
) -> None:
    picture(tmp_path / "in/a.png")
    noise = np.random.default_rng(1).integers(90, 200, (600, 800, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in/b.png"), noise)
    out = tmp_path / "out"
    limited = ["sh", "-c", 'ulimit -f 120; exec "$@"', "sh", *COMMAND]  # no file above 60 kB
    ran = subprocess.run(
        [*limited, "--folder", str(tmp_path / "in"), "--report", str(out)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    told = (
        f"kdlight-edge: {out}/pictures/00002.jpg cannot be written: File too large; make room or choose another place\n"
    )
    assert (ran.returncode, ran.stderr) == (1, told)
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["00001-crack.png", "00001.jpg"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert (page.count("<figure"), page.count("<img"), page.endswith("</html>\n")) == (2, 1, True)
    assert len((out / "surfaces.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_behind_stdout_is_no_fault_of_a_report(tmp_path: Path) -> None:
    command = [*COMMAND, "--folder", str(picture(tmp_path / "in/a.png").parent)]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    said = "kdlight-edge: stdout cannot be written: No space left on device; make room there\n"
    assert (ran.returncode, ran.stderr) == (1, said)


def test_a_reader_that_goes_away_leaves_a_whole_report(tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / f"in/{number:02}.png")
    out = tmp_path / "out"
    command = [
        *COMMAND,
        "--folder",
        str(tmp_path / "in"),
        "--report",
        str(out),
        "--geojson",
        str(tmp_path / "map.json"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        ran.stdout.readline()
        ran.stdout.close()
        assert "Traceback" not in ran.stderr.read()
    told = (out / "surfaces.jsonl").read_text(encoding="utf-8").splitlines()
    assert 1 <= len(told) < 40
    for path in (out / "surfaces.geojson", tmp_path / "map.json"):
        places = [
            one for one in json.loads(path.read_text(encoding="utf-8"))["features"] if "source" in one["properties"]
        ]
        assert len({one["properties"]["source"] for one in places}) == len(told)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f"pictures/{number:05}.jpg" in page for number in range(1, len(told) + 1))
    assert f"<h1>Inspection: {len(told)} of 40 pictures; it ended before the others</h1>" in page


def test_a_second_report_leaves_nothing_of_the_first_and_everything_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in "abc":
        picture(tmp_path / "three" / f"{name}.png")
    picture(tmp_path / "one/a.png")
    assert lines(capsys, tmp_path / "three", "--report", out)[0] == 0
    assert len(list((out / "pictures").iterdir())) == 6
    (out / "pictures/notes.jpg").touch()
    assert lines(capsys, tmp_path / "one", "--report", out)[0] == 0
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["00001-crack.png", "00001.jpg", "notes.jpg"]


def test_pictures_of_one_name_in_two_folders_are_told_apart_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["100MEDIA/DJI_0001.png", "101MEDIA/DJI_0001.png", "c.png"]
    for name in names:
        picture(tmp_path / "in" / name)
    assert lines(capsys, tmp_path / "in", "--report", tmp_path / "out")[0] == 0
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert all(f"<b>{name}</b>" in page and f">{name}</a>" in page for name in names)
    assert lines(capsys, tmp_path / "in/c.png", "--report", tmp_path / "out")[0] == 0
    assert "<b>c.png</b>" in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_pictures_of_somebody_elses_are_never_written_over_by_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = picture(tmp_path / "out/pictures/00002.jpg")
    before = own.read_bytes()
    picture(tmp_path / "in/a.png")
    assert (
        main(
            [
                "infer",
                "--model",
                MODEL,
                "--tiles",
                "64",
                "--folder",
                str(tmp_path / "in"),
                "--report",
                f"{tmp_path}/out",
            ]
        )
        == 2
    )
    assert "which is of no older report; name another folder" in capsys.readouterr().err
    assert (own.read_bytes(), len(list((tmp_path / "out").rglob("*")))) == (before, 2)


@pytest.mark.parametrize("flag", ["--report", "--csv", "--geojson"])
def test_two_inspections_do_not_write_one_report(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = picture(tmp_path / "in/a.png"), tmp_path / "out"
    words = ["infer", "--model", MODEL, "--tiles", "64", "--source", str(source), flag, str(out)]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as a run that is at work has it
    assert main(words) == 1
    assert f"{out} is being written by another process; name another place" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    os.close(handle)
    assert main(words) == 0
