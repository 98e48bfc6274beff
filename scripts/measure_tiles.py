#!/usr/bin/env python3
"""Survey generated surfaces of 50 megapixels and an orthomosaic; write docs/results/tiles.json and docs/surfaces.jpg.

usage: scripts/measure_tiles.py [--model NAME.kdl] [--keep DIR]

The pictures are drawn by kdlight_edge.surface at the scale of a camera near a wall, one after the other in processes of
their own, so that the memory of the drawing is not in the figures. Memory is the peak of a whole run with its report.
The ratio is of tiles a second in one process, in turn: the survey on all cores, and the faster of two plain loops that
let the engine have all cores: one tile at a time, and sixteen.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from records import typed, write_record

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "tiles.json"
PICTURE = ROOT / "docs" / "surfaces.jpg"
WIDTH, HEIGHT, VIEW = 8660, 5774, 900
SCENES = (("concrete", 5, 0.42), ("asphalt", 6, 0.55), ("concrete", 11, None))
TIMES = 3
JPEG_MB, TIFF_MB = 500, 300


def main() -> int:
    """Draw, measure and write."""
    parser = argparse.ArgumentParser(description="Measure surveys; see the file's own first lines.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave pictures and report there")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        return part(args.part[0], Path(args.part[1]), args.model)
    with tempfile.TemporaryDirectory(prefix="kdlight-tiles-") as own:
        measure(args.keep or Path(own), args.model)
    return 0


def measure(folder: Path, model: Path) -> None:
    """Write the figures and the picture of the page."""
    site = folder / "site"
    site.mkdir(parents=True, exist_ok=True)
    for number in range(len(SCENES)):
        child(model, f"draw{number}", folder)
    child(model, "mosaic", folder)
    photograph = survey(model, site, folder / "report", "--mm-per-pixel", "0.3")
    mosaic = survey(model, folder / "mosaic.tif", folder / "report-mosaic")
    speed = json.loads(child(model, "speed", folder))
    record = write_record(
        RESULTS,
        typed(),
        photographs=photograph,
        orthomosaic=mosaic,
        tiles_per_second=speed,
        rows=rows(photograph, mosaic, speed),
    )
    print(json.dumps(record["rows"], indent=1))
    look(folder / "report" / "index.html")


def rows(photograph: dict[str, Any], mosaic: dict[str, Any], speed: dict[str, Any]) -> list[dict[str, str]]:
    """Return the figures for the page."""
    return [
        {
            "what": "peak memory, JPEG of 50 megapixels, with report",
            "value": f"{photograph['peak_mb']} MB", "goal": f"below {JPEG_MB} MB",
        },
        {
            "what": f"peak memory, TIFF of {mosaic['megapixels']} megapixels "
            f"({mosaic['file_mb']:,} MB) by tiles, with report",
            "value": f"{mosaic['peak_mb']} MB", "goal": f"below {TIFF_MB} MB",
        },
        {
            "what": "whole run, three JPEGs of 50 megapixels, with report",
            "value": f"{photograph['seconds']} s for {photograph['tiles']:,} tiles", "goal": "",
        },
        {
            "what": "the TIFF, with report",
            "value": f"{mosaic['seconds']} s for {mosaic['tiles']:,} tiles", "goal": "",
        },
        {
            "what": "tiles a second, survey against a plain loop, of one tile or of sixteen at a time",
            "value": f"{speed['survey']:,} to {speed['loop']:,} or {speed['batched']:,}, {speed['ratio']} times",
            "goal": "1 times",
        },
    ]  # fmt: skip


def child(model: Path, name: str, folder: Path) -> str:
    """Run one part in a process of its own."""
    command = [sys.executable, __file__, "--model", str(model), "--part", name, str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def survey(model: Path, source: Path, report: Path, *more: str) -> dict[str, Any]:
    """Run the program once; return its time, its peak memory and what it found."""
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--source", str(source), "--model", str(model)]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--tiles", "--json", "--report", str(report), *more], stdout=subprocess.PIPE
    ) as run:
        lines = [json.loads(line) for line in run.stdout or ()]
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"{source}: the run ended with {run.returncode}")
    files = [source] if source.is_file() else list(source.iterdir())
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),  # the kernel counts in KiB
        "megapixels": round(sum(line["width"] * line["height"] for line in lines) / 1e6),
        "file_mb": round(sum(file.stat().st_size for file in files) / 1e6),
        "tiles": sum(line["tiles"]["count"] for line in lines),
        "found": [
            {key: line[key] for key in ("width", "height", "coverage_percent", "band", "judged_percent", "findings")}
            for line in lines
        ],
    }


def part(name: str, folder: Path, model: Path) -> int:
    """Be a child."""
    if name.startswith("draw"):
        draw(int(name[4:]), folder)
    elif name == "mosaic":
        mosaic(folder)
    else:
        print(json.dumps(speed(folder, model)))
    return 0


def draw(number: int, folder: Path) -> None:
    """Draw one photograph with the notes of a camera; the last one is dark and dazzled in places."""
    from PIL import Image, TiffImagePlugin

    from kdlight_edge.surface import render

    material, seed, crack = SCENES[number]
    image = render(material, seed, (WIDTH, HEIGHT), view=VIEW, crack_at=crack).image
    if crack is None:
        image[: HEIGHT // 3, : WIDTH // 4] //= 40
        image[-HEIGHT // 4 :, -WIDTH // 4 :] = 255
    note = Image.Exif()
    note.get_ifd(0x8769)[0x9003] = f"2026:05:04 14:3{number}:00"
    parts = [TiffImagePlugin.IFDRational(value, 100) for value in (4700, 3000, 1200 + 60 * number)]
    east = [TiffImagePlugin.IFDRational(value, 100) for value in (800, 1500, 3000 + 90 * number * number)]
    note.get_ifd(0x8825).update({1: "N", 2: tuple(parts), 3: "E", 4: tuple(east), 5: b"\0", 6: parts[1]})
    path = folder / "site" / f"pier-{number + 1}.jpg"
    Image.fromarray(image).save(path, quality=90, exif=note.tobytes())


def mosaic(folder: Path) -> None:
    """Lay a photograph out six times as a GeoTIFF in tiles, mirrored so that it goes on at the seams."""
    import numpy as np
    import tifffile

    from kdlight_edge.picture import read_picture

    image = read_picture(folder / "site" / "pier-1.jpg")
    wide = np.concatenate([image, image[:, ::-1], image], axis=1)
    whole = np.concatenate([wide, wide[::-1]], axis=0)
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32632)
    tags = [
        (33550, "d", 3, (0.002, 0.002, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 443_000.0, 5_261_000.0, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]  # fmt: skip
    tifffile.imwrite(
        folder / "mosaic.tif",
        whole,
        photometric="rgb",
        tile=(256, 256),
        compression="zlib",
        metadata=None,
        extratags=tags,
    )


def speed(folder: Path, model: Path) -> dict[str, Any]:
    """Return tiles a second of both ways over one decoded picture, the median of several turns."""
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.frame import Frame, Moment
    from kdlight_edge.survey.grid import grid_of
    from kdlight_edge.survey.judge import Judge
    from kdlight_edge.survey.raster import open_raster

    raster = open_raster(folder / "site" / "pier-1.jpg")
    image = raster.rows(0, raster.height)
    grid = grid_of(raster.width, raster.height, 256, 0.25)
    count = len(grid.lefts) * len(grid.tops)
    turns: list[tuple[float, ...]] = []
    with open_classifier(model) as plain, open_classifier(model, threads=1) as classifier:
        judge = Judge(classifier)
        for _ in range(TIMES):
            moments = [time.perf_counter()]
            judge.survey(raster, 256, 0.25)
            moments.append(time.perf_counter())
            for top in grid.tops:
                for left in grid.lefts:
                    plain.classify(Frame(image[top : top + 256, left : left + 256], Moment.now(), "", 0))
            moments.append(time.perf_counter())
            for top in grid.tops:
                for at in range(0, len(grid.lefts), 16):
                    plain.outputs(image[top : top + 256, left : left + 256] for left in grid.lefts[at : at + 16])
            moments.append(time.perf_counter())
            turns.append(tuple(count / (after - before) for before, after in itertools.pairwise(moments)))
        judge.close()
    ours, loop, batched = (sorted(turn[i] for turn in turns)[TIMES // 2] for i in range(3))
    return {
        "survey": round(ours), "loop": round(loop), "batched": round(batched),
        "ratio": round(ours / max(loop, batched), 2), "cores": os.cpu_count(),
    }  # fmt: skip


def look(page: Path) -> None:
    """Take a picture of the page in Chromium for the documentation."""
    import cv2

    sys.path.insert(0, str(ROOT))
    from tests.edge.browser import browser

    shot = page.with_name("page.png")
    with browser("--allow-file-access-from-files") as window:
        window.size(1100, 1500)
        window.open(page.as_uri())
        window.wait("[...document.images].every(image => (image.loading = 'eager', image.naturalWidth > 0))")
        window.screenshot(shot)
    image = cv2.imread(str(shot))
    if image is None:
        raise SystemExit(f"{shot} cannot be read")
    PICTURE.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 72])[1].tobytes())
    shot.unlink()


if __name__ == "__main__":
    raise SystemExit(main())
