"""Surfaces larger than the network's input, from a file on the disk to the page of the inspection."""

import contextlib
import csv
import json
import re
import shutil
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_edge.picture import read_picture
from kdlight_edge.surface import render
from kdlight_edge.survey.raster import open_raster
from tests.edge.browser import browser
from tests.edge.photographs import Pixels, exif, save

MODEL = str(Path(__file__).resolve().parents[2] / "models" / "surface-crack.kdl")


@pytest.fixture(scope="module")
def wall() -> Pixels:
    """Return concrete with a crack from top to bottom, as a camera near it sees it."""
    return render("concrete", 5, (1400, 1100), view=900, crack_at=0.42).image


def tiles(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]], str]:
    code = main(["infer", "--model", MODEL, "--json", "--tiles", "128", *words])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def test_a_crack_is_found_where_it_is_and_the_rest_is_clean(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "wall.jpg", wall)
    code, (line,), _ = tiles(capsys, "--source", str(path), "--tiles", "256", "--mm-per-pixel", "0.5")
    assert (code, line["schema"], line["width"], line["height"]) == (0, "kdlight-edge/surface/1", 1400, 1100)
    found = [[letter == "1" for letter in row] for row in line["tiles"]["letters"]]
    assert all(any(row) for row in found)
    (finding,) = line["findings"]
    assert 10 < finding["coverage_percent"] < 60
    assert finding["longest_run"]["tiles"] >= line["tiles"]["rows"]
    assert finding["longest_run"]["mm"] == pytest.approx(finding["longest_run"]["pixels"] / 2, abs=0.5)
    chances = line["tiles"]["probability"]["crack"]
    assert [len(row) for row in chances] == [line["tiles"]["columns"]] * line["tiles"]["rows"]


def test_the_answers_do_not_hang_on_the_number_of_workers(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "wall.png", wall)
    lines = [tiles(capsys, "--source", str(path), "--threads", count)[1][0] for count in ("1", "3")]
    for line in lines:
        del line["seconds"]
    assert lines[0] == lines[1]


def test_bands_are_the_users_own(wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "wall.jpg", wall)
    bands = [tiles(capsys, "--source", str(path), "--bands", text)[1][0]["band"] for text in ("99", "0.1,0.2,99")]
    assert bands == [0, 2]


def test_what_cannot_be_judged_is_skipped_with_its_reason(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = wall[:1024, :1280].copy()
    spoilt[:256, :256] = 0
    spoilt[:256, 256:512] = 255
    spoilt[:256, 512:768] = 140
    spoilt[:256, 768:1024] = (spoilt[:256, 768:1024] / 40 + 4).astype(np.uint8)
    spoilt[:256, 1024:] = np.linspace(40, 220, 256).astype(np.uint8)[np.newaxis, :, np.newaxis]
    path = save(tmp_path / "wall.png", spoilt)
    _, (line,), _ = tiles(capsys, "--source", str(path), "--tiles", "256", "--overlap", "0")
    assert line["tiles"]["letters"][0] == "ewedb"
    skipped = line["tiles"]["skipped"]
    # A generated wall is none of the bundle's own pictures.
    foreign = sum(skipped.pop(reason, 0) for reason in ("outlier", "abstained"))
    assert skipped == {"empty": 2, "over-exposed": 1, "dark": 1, "blurred": 1}
    assert foreign <= 2
    assert line["judged_percent"] == pytest.approx(75.0 - 5 * foreign)
    assert line["tiles"]["probability"]["crack"][0] == [None] * 5


def test_a_surface_of_which_nothing_can_be_judged_has_no_coverage_and_no_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "night.png", np.zeros((300, 400, 3), np.uint8))
    code, (line,), _ = tiles(capsys, "--source", str(path), "--report", str(tmp_path / "out"))
    assert (code, line["coverage_percent"], line["band"], line["judged_percent"]) == (0, None, None, 0.0)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Not judged (1)" in page
    card, row = (re.search(f"<{part}.*</{part}>", page, re.DOTALL) for part in ("figcaption", "tbody"))
    assert card is not None
    assert "<b>night.png</b><br>nothing could be judged<br>" in card[0]
    assert row is not None
    assert [re.sub(r"<.*?>", "", cell) for cell in row[0].split("</tbody>")[0].split("</td>")[:6]] == [
        "night.png", "", "nothing could be judged", "", "", "",
    ]  # fmt: skip


def test_a_tile_larger_than_the_picture_is_one_tile(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "wall.jpg", wall[:200, :300])
    _, (line,), _ = tiles(capsys, "--source", str(path), "--tiles", "5000")
    assert (line["tiles"]["count"], line["tiles"]["width"], line["tiles"]["height"]) == (1, 300, 200)


def mosaic(path: Path, image: npt.NDArray[Any], **options: Any) -> Path:
    """Write a GeoTIFF in UTM zone 32 with pixels of one centimetre."""
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32632)
    tags = [
        (33550, "d", 3, (0.01, 0.01, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    photometric = options.pop("photometric", "rgb")
    tifffile.imwrite(path, image, photometric=photometric, metadata=None, extratags=tags, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 7}, {"rowsperstrip": 64, "compression": "lzw", "predictor": True},
        {"tile": (256, 128), "compression": "zlib"}, {"tile": (64, 64), "bigtiff": True},
        {"rowsperstrip": 33, "planarconfig": "separate"}, {"rowsperstrip": 16, "byteorder": ">"},
    ],
)  # fmt: skip
def test_an_orthomosaic_read_by_rows_has_the_pixels_of_one_read_whole(
    options: dict[str, Any], wall: Pixels, tmp_path: Path
) -> None:
    planes = np.ascontiguousarray(np.moveaxis(wall, 2, 0)) if "planarconfig" in options else wall
    raster = open_raster(mosaic(tmp_path / "m.tif", planes, **options))
    assert (raster.width, raster.height) == (1400, 1100)
    tops = [*range(0, 1100 - 200, 150), 900]
    for top in tops:
        np.testing.assert_array_equal(raster.rows(top, top + 200), wall[top : top + 200])
    raster.close()


def test_grey_sixteen_bit_palette_and_transparent_orthomosaics_are_rgb_of_eight_bits(
    wall: Pixels, tmp_path: Path
) -> None:
    grey = wall[:300, :200, 1]
    for image, photometric in ((grey, "minisblack"), (grey.astype(np.uint16) * 257, "minisblack"), (255 - grey, 0)):
        raster = open_raster(mosaic(tmp_path / "g.tif", image, photometric=photometric))
        np.testing.assert_array_equal(raster.rows(0, 300), np.repeat(grey[..., np.newaxis], 3, axis=2))
        raster.close()
    alpha = np.full((300, 200, 4), 255, np.uint8)
    alpha[..., :3] = wall[:300, :200]
    alpha[:100, :, 3] = 0
    raster = open_raster(mosaic(tmp_path / "a.tif", alpha, extrasamples=["unassalpha"]))
    rows = raster.rows(0, 300)
    assert rows[:100].max() == 0
    np.testing.assert_array_equal(rows[100:], wall[100:300, :200])
    raster.close()
    table = np.arange(256, dtype=np.uint16)[np.newaxis].repeat(3, axis=0) * 257
    raster = open_raster(mosaic(tmp_path / "p.tif", grey, photometric="palette", colormap=table))
    np.testing.assert_array_equal(raster.rows(0, 300)[..., 0], grey)
    raster.close()


def test_an_orthomosaic_gives_its_outline_and_a_polygon_for_each_run(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mosaic(tmp_path / "m.tif", wall, rowsperstrip=32)
    _, (line,), _ = tiles(capsys, "--source", str(path), "--tiles", "256", "--geojson", str(tmp_path / "m.geojson"))
    assert line["mm_per_pixel"] == 10.0
    document = json.loads((tmp_path / "m.geojson").read_text())
    whole, *found = document["features"]
    assert len(found) == line["findings"][0]["runs"]
    (ring,) = whole["geometry"]["coordinates"]
    assert ring[0] == pytest.approx([9.0, 45.153], abs=0.001)
    lowest, highest = min(place[1] for place in ring), max(place[1] for place in ring)
    assert (highest - lowest) * 111_000 == pytest.approx(11.0, rel=0.01)
    assert found[0]["properties"]["length_mm"] == line["findings"][0]["longest_run"]["mm"]
    for feature in found:
        rings = feature["geometry"]["coordinates"]
        assert feature["geometry"]["type"] == "Polygon"
        assert all(lowest <= latitude <= highest for ring in rings for _, latitude in ring)


def test_a_world_file_places_a_photograph_once_its_system_is_named(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "deck.jpg", wall[:300, :300])
    (tmp_path / "deck.jgw").write_text("0.02\n0\n0\n-0.02\n500000.01\n4999999.99\n")
    _, (line,), _ = tiles(capsys, "--source", str(path))
    assert "--epsg" in line["note"]
    _, (line,), _ = tiles(capsys, "--source", str(path), "--epsg", "32632")
    assert (line["note"], line["mm_per_pixel"]) == ("", 20.0)
    (tmp_path / "deck.jgw").write_text("hello")
    assert "no world file" in tiles(capsys, "--source", str(path))[1][0]["note"]


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_a_world_file_is_not_laid_over_a_photograph_that_was_turned(ending: str, tmp_path: Path) -> None:
    note = Image.Exif()
    note[0x0112] = 6
    path = save(tmp_path / f"deck{ending}", np.full((200, 300, 3), 90, np.uint8), note)
    path.with_suffix(".wld").write_text("0.02\n0\n0\n-0.02\n500000.01\n4999999.99\n")
    with contextlib.closing(open_raster(path, 32632)) as raster:
        assert (raster.width, raster.height) == (200, 300)
        assert (raster.georeference, raster.unplaced) == (
            None,
            "its georeference is of a picture that lies on its side",
        )


def ifd(*entries: tuple[int, int, int, int]) -> bytes:
    """Return a TIFF whose header is all that there is."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


def lying(width: int, height: int, rows: int, length: int = 10) -> bytes:
    return ifd(
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
        (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, length),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lying(4_000_000_000, 10, 10), "4000000000x10"), (lying(0, 0, 1), "0x0"), (lying(90_000, 90_000, 1), "90,000"),
        (lying(90_000, 90_000, 90_000), "MB"), (lying(100, 100, 100, 10_000), "behind its end"),
        (lying(100, 100, 100, 10), "damaged TIFF"), (b"II*\0\xff\xff\xff\x7f", "TIFF"), (b"II+\0", "TIFF"),
    ],
)  # fmt: skip
def test_a_tiff_that_lies_about_itself_is_one_line_before_anything_is_unpacked(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "liar.tif").write_bytes(content)
    code, (line,), err = tiles(capsys, "--folder", str(tmp_path))
    assert (code, line["decision"], err) == (1, "error", "")
    assert said in line["reason"]


@pytest.mark.parametrize("packed", [b"\7" * (50 << 20), b"\7" * 100])
def test_a_strip_that_unpacks_to_more_or_less_than_it_should_is_damaged(packed: bytes, tmp_path: Path) -> None:
    data = zlib.compress(packed)
    head = lying(64, 64, 64, len(data))
    head = head.replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 8))
    head = head.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, len(head)))
    (tmp_path / "bomb.tif").write_bytes(head + data)
    raster = open_raster(tmp_path / "bomb.tif")
    with pytest.raises(DataError, match="damaged TIFF"):
        raster.rows(0, 64)
    raster.close()


def test_a_truncated_photograph_is_an_error_line_and_the_inspection_goes_on(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    whole = save(folder / "b.jpg", wall).read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "c.jpg").touch()
    bomb = bytearray(whole)
    at = whole.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    (folder / "d.jpg").write_bytes(bytes(bomb))
    out = tmp_path / "out"
    code, lines, _ = tiles(capsys, "--folder", str(folder), "--report", str(out))
    assert code == 1
    assert [line["decision"] for line in lines] == ["error", "judged", "error", "error"]
    assert "truncated" in lines[0]["reason"]
    assert "65000x65000" in lines[3]["reason"]
    rows = list(csv.DictReader((out / "surfaces.csv").read_text().splitlines()))
    assert [bool(row["reason"]) for row in rows] == [True, False, True, True]
    assert "Not read (3)" in (out / "index.html").read_text()


def test_damaged_orthomosaics_give_a_reason_and_never_anything_else(wall: Pixels, tmp_path: Path) -> None:
    rng, ends = np.random.default_rng(9), Counter[str]()
    for options in ({"rowsperstrip": 20, "compression": "lzw"}, {"tile": (64, 64), "compression": "zlib"}):
        whole = mosaic(tmp_path / "m.tif", wall[:150, :130], **options).read_bytes()
        for _ in range(150):
            damaged = bytearray(whole[: rng.integers(4, len(whole))] if rng.random() < 0.3 else whole)
            for at in rng.integers(4, min(len(damaged), 600) if rng.random() < 0.7 else len(damaged), 4):
                damaged[at] = rng.integers(0, 256)
            (tmp_path / "d.tif").write_bytes(bytes(damaged))
            try:
                raster = open_raster(tmp_path / "d.tif")
            except DataError:
                ends["not opened"] += 1
                continue
            try:
                for top in range(0, min(raster.height, 600), 64):
                    raster.rows(top, min(raster.height, top + 64))
                ends["read"] += 1
            except DataError:
                ends["not read"] += 1
            finally:
                raster.close()
    assert min(ends[end] for end in ("not opened", "not read", "read")) > 10, ends


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tiles", "3"], "--tiles 3"), (["--overlap", "1"], "--overlap 1"), (["--bands", "5,1"], "--bands 5,1"),
        (["--mm-per-pixel", "0"], "--mm-per-pixel"), (["--epsg", "3857"], "--epsg 3857"),
        (["--save", "out"], "--save says nothing beside --tiles"), (["--topk", "2"], "--topk says nothing beside"),
        (["--retries", "0"], "--retries says nothing"), (["--stall-timeout", "1"], "--stall-timeout says nothing"),
        (["--freeze-timeout", "1"], "--freeze-timeout says"), (["--governor", "off"], "--governor says nothing"),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--model", MODEL, "--source", "a.jpg", "--tiles", "128", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "kind"), [("watch:in", "watch"), ("rtsp://u:secret@h/", "stream"), ("a.mp4", "video")]
)
def test_what_is_no_picture_and_no_folder_is_not_surveyed(
    source: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    assert main(["infer", "--model", MODEL, "--source", source, "--tiles"]) == 2
    err = capsys.readouterr().err
    assert f"the source is of another kind ({kind})" in err
    assert "secret" not in err


def test_a_flag_of_tiles_without_tiles_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--model", MODEL, "--source", "a.jpg", "--report", "out"]) == 2
    assert "--report says nothing without --tiles" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromium-driver is not installed")
def test_the_page_of_an_inspection_opens_without_a_network_sorts_and_fits_a_phone_and_paper(
    wall: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "site", tmp_path / "out"
    folder.mkdir()
    save(folder / "<b>&.jpg", wall[:600, :600], exif())
    save(folder / "b.jpg", render("concrete", 8, (600, 600), view=900).image, exif(east="W"))
    (folder / "c.jpg").write_bytes(b"\xff\xd8 nothing")
    tiles(capsys, "--folder", str(folder), "--report", str(out))
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "pictures", "surfaces.csv", "surfaces.geojson", "surfaces.jsonl",
    ]  # fmt: skip
    page = (out / "index.html").read_text()
    assert not re.search(r"https?://", page)
    with browser("--allow-file-access-from-files") as window:
        window.size(390, 844, scale=2, mobile=True)
        window.open(out.joinpath("index.html").as_uri())
        assert window.run("return document.documentElement.scrollWidth") == 390
        assert window.run("return document.querySelectorAll('svg circle').length") == 2
        names = "return [...document.querySelectorAll('#all tbody tr')].map(row => row.cells[0].textContent)"
        assert window.run(names) == ["<b>&.jpg", "b.jpg", "c.jpg"]
        window.run("document.querySelectorAll('#all th button')[7].click()")
        window.run("document.querySelectorAll('#all th button')[7].click()")
        assert window.run(names)[0] == "c.jpg"
        loaded = "[...document.images].every(image => (image.loading = 'eager', image.naturalWidth > 0))"
        assert window.wait(loaded)
        cell = "[...document.querySelectorAll('#all tr')].find(row => /not read: /.test(row.innerText)).cells[2]"
        assert window.run(f"return {cell}.offsetWidth") < 200  # the figures behind it stay in reach
        window.size(718, 1000)  # A4 between the margins of a browser
        dark = {"name": "prefers-color-scheme", "value": "dark"}
        window.devtools("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
        cut = "[...document.querySelectorAll('.table')].filter(table => table.scrollWidth > table.clientWidth).length"
        assert window.run(f"return {cut}") == 0
        assert window.run("return getComputedStyle(document.body).color") == "rgb(20, 24, 29)"
        assert window.complaints() == []
    overlay = read_picture(out / "pictures" / "00001.jpg")
    assert overlay.shape == (600, 600, 3)
