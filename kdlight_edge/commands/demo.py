"""``kdlight-edge demo``: the main job on generated surfaces, from a folder and from a camera, in a few seconds."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.errors import BundleError, KDLightError, UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from kdlight_edge.classifier import Classifier
    from kdlight_edge.tally import Summary

PICTURES = 72
"""How many surfaces are written: a third of each material, every second one cracked."""

SIDE, SEED, QUALITY = 256, 1000, 92
"""Of the pictures: pixels, first seed, JPEG quality."""

TITLES = (
    "run", "pictures", "right", "p50 ms", "p90 ms", "pictures/s", "age p50 ms", "age p90 ms", "age max ms", "dropped",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.add_argument(
        "--out", default="demo-out", metavar="DIR", help="where everything is written (default demo-out)"
    )
    parser.add_argument("--model", metavar="NAME.kdl", help="the bundle (default: models/surface-crack.kdl)")
    parser.add_argument(
        "--frames", type=int, default=300, metavar="N", help="of the camera run, 30 a second (default 300)"
    )


def run(args: argparse.Namespace) -> int:
    """Write pictures, classify them, classify a camera, and tell how it went; 130 after Ctrl-C."""
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.signals import stopped_by_signals
    from kdlight_edge.zoo import for_cracks

    if args.frames < 1:
        raise UsageError(f"--frames {args.frames} is too small; give 1 or more")
    model = args.model if args.model is not None else for_cracks()
    if model is None:
        raise BundleError("there is no models/surface-crack.kdl here; run it in a checkout or give --model NAME.kdl")
    out = Path(args.out)
    done: dict[str, Summary] = {}
    with stopped_by_signals() as stop, open_classifier(model, threads=1) as classifier:
        write_pictures(out / "pictures", stop)
        if not stop.is_set():
            done["folder"] = _folder(out, classifier, stop)
        if not stop.is_set():
            done["camera"] = _camera(out, classifier, args.frames, stop)
        manifest = classifier.bundle.manifest
        print(f"{manifest.name} {manifest.version} on {classifier.engine.name}, generated surfaces\n")
    for line in table(done):
        print(line)
    written = [name for name in ("folder.jsonl", "camera.jsonl", "contact_sheet.png") if (out / name).exists()]
    print(f"\nWritten to {out}/: {', '.join(['pictures/', *written])}")
    if stop.is_set():
        print("kdlight-edge: stopped; above is what was done", file=sys.stderr)
        return 130
    return 0


def write_pictures(folder: Path, stop: "threading.Event") -> None:
    """Render the surfaces into ``folder``/crack and ``folder``/no_crack, as JPEG files.

    Raises:
        KDLightError: they cannot be written.
    """
    from kdlight_edge.picture import to_jpeg
    from kdlight_edge.surface import MATERIALS, render

    try:
        for number in range(PICTURES):
            material, cracked = MATERIALS[number % len(MATERIALS)], number // len(MATERIALS) % 2 == 0
            surface = render(material, SEED + number, (SIDE, SIDE), crack_at=0.5 if cracked else None)
            file = folder / ("crack" if cracked else "no_crack") / f"{material}-{number:02}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(to_jpeg(surface.image, QUALITY))
            if stop.is_set():
                return
    except OSError as error:
        raise KDLightError(f"{folder} cannot be written: {error.strerror}; choose another --out") from error


def table(runs: "dict[str, Summary]") -> list[str]:
    """Return the runs as aligned lines, a header first; ``-`` where a figure was not measured or not proved."""
    rows: list[Sequence[str]] = [TITLES]
    for name, summary in runs.items():
        camera = name == "camera"
        ages = [_figure(summary.age_ms, which) if camera else "-" for which in ("p50", "p90", "max")]
        rows.append((
            name, f"{summary.frames:,}", f"{summary.right}/{summary.judged}" if summary.judged else "-",
            _figure(summary.picture_ms, "p50"), _figure(summary.picture_ms, "p90"),
            f"{summary.images_per_second:,.0f}", *ages, f"{summary.dropped:,}" if camera else "-",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _figure(figures: "Mapping[str, float]", name: str) -> str:
    return f"{figures[name]:.2f}" if name in figures else "-"


def _folder(out: Path, classifier: "Classifier", stop: "threading.Event") -> "Summary":
    from kdlight_edge.sinks.jsonl import JsonLines
    from kdlight_edge.sinks.lines import open_lines
    from kdlight_edge.sinks.sheet import Sheet
    from kdlight_edge.sources.folder import Folder
    from kdlight_edge.stream import run as stream

    lines = JsonLines(open_lines(out / "folder.jsonl", at_once=False), classifier.origin)
    return stream(
        Folder(out / "pictures"), classifier, [lines, Sheet(out / "contact_sheet.png", classifier)], stop=stop
    )


def _camera(out: Path, classifier: "Classifier", frames: int, stop: "threading.Event") -> "Summary":
    from kdlight_edge.progress import Progress
    from kdlight_edge.sinks.jsonl import JsonLines
    from kdlight_edge.sinks.lines import open_lines
    from kdlight_edge.sources import open_source
    from kdlight_edge.stream import run as stream

    lines = JsonLines(open_lines(out / "camera.jsonl", at_once=True), classifier.origin)
    bar = Progress(frames, "frames", label="scene:crack")
    try:
        return stream(open_source(f"scene:crack?frames={frames}"), classifier, [lines], stop=stop, progress=bar)
    finally:
        bar.close()
