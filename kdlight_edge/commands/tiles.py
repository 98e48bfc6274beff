"""Flags of ``infer`` for pictures larger than the network's input, and the run that cuts them into tiles."""

import argparse
import contextlib
import itertools
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlight_edge.commands import originals
from kdlight_edge.commands.given import given
from kdlight_edge.errors import DataError, KDLightError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdlight_edge.survey.exif import Taken
    from kdlight_edge.survey.judge import Judge
    from kdlight_edge.survey.record import Surface

ALONE = (
    "camera", "sheet", "save", "save_video", "explain", "quality", "max_age", "identity_key", "dicom_out", "dicom_to",
    "await_camera", "vote", "max_fps", "topk", "retries", "stall_timeout", "freeze_timeout", "governor",
    "json_file", "audit", "mqtt", "webhook", "event_dir", "event_hold", "metrics", "web",
)  # fmt: skip
"""Flags that say nothing beside ``--tiles``."""

ONLY = ("overlap", "report", "geojson", "bands", "mm_per_pixel", "epsg", "overlay_side")
"""Flags that say nothing without it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    group = parser.add_argument_group("surfaces larger than the network's input (docs/surfaces.md)")
    group.add_argument(
        "--tiles",
        nargs="?",
        const=0,
        type=int,
        metavar="SIZE",
        help="cut every picture into overlapping tiles of SIZE pixels (default: twice the network's input)",
    )
    group.add_argument("--overlap", type=float, metavar="SHARE", help="share of a tile that the next covers (0.25)")
    group.add_argument(
        "--report", metavar="DIR", help="also write the inspection: a page, overlays, JSON, CSV, GeoJSON"
    )
    group.add_argument("--geojson", metavar="FILE", help="also write a map: a feature a picture, and a run")
    group.add_argument("--bands", metavar="P,P,...", help="percents at which a severity band begins (1,5,20)")
    group.add_argument("--mm-per-pixel", type=float, metavar="MM", help="gives lengths in millimetres")
    group.add_argument("--epsg", type=int, metavar="CODE", help="system of a georeference that does not name its own")
    group.add_argument(
        "--overlay-side", type=int, metavar="PX", help="longest side of an overlay (2400); 0 for full resolution"
    )


def check(args: argparse.Namespace) -> None:
    """Refuse flags that cannot be, or not together."""
    if args.tiles is None:
        if alone := given(args, ONLY):
            raise UsageError(f"{alone[0]} says nothing without --tiles")
        return
    if beside := given(args, ALONE):
        raise UsageError(f"{beside[0]} says nothing beside --tiles")
    if args.tiles < 0 or 0 < args.tiles < 16:  # noqa: PLR2004 - less shows nothing
        raise UsageError(f"--tiles {args.tiles} is no size; give 16 pixels or more")
    if args.overlap is not None and not 0 <= args.overlap <= 0.9:  # noqa: PLR2004 - more is the same picture again
        raise UsageError(f"--overlap {args.overlap:g} is no share of a tile; give 0 to 0.9")
    if args.mm_per_pixel is not None and not 0 < args.mm_per_pixel < float("inf"):
        raise UsageError(f"--mm-per-pixel {args.mm_per_pixel:g} is no length; give millimetres above 0")
    if args.overlay_side is not None and args.overlay_side != 0 and not 64 <= args.overlay_side <= 65_500:  # noqa: PLR2004
        raise UsageError(f"--overlay-side {args.overlay_side} cannot be; give 64 to 65500, what a JPEG can hold, or 0")
    if args.epsg is not None:
        from kdlight_edge.survey.georef import known

        if not known(args.epsg):
            raise UsageError(f"--epsg {args.epsg} is not known; there are 4326, 32601 to 32660 and 32701 to 32760")
    bands_of(args.bands)


def bands_of(text: str | None) -> tuple[float, ...]:
    """Read ``--bands``.

    Raises:
        UsageError: not percents that rise.
    """
    try:
        bands = tuple(float(part) for part in ("1,5,20" if text is None else text).split(","))
    except ValueError:
        bands = ()
    rising = all(before < after for before, after in itertools.pairwise(bands))
    if not bands or not rising or not all(0 < limit <= 100 for limit in bands):  # noqa: PLR2004 - percent
        raise UsageError(f"--bands {text} are no rising percents; give them like 1,5,20")
    return bands


def run(args: argparse.Namespace, model: str | None) -> int:
    """Survey every picture; 0 when all could be read, 1 when some could not, 130 when stopped before the end."""
    from kdlight_edge.commands.outcome import tell_stopped
    from kdlight_edge.commands.tenant import open_tenant
    from kdlight_edge.decide import Settings
    from kdlight_edge.signals import stopped_by_signals
    from kdlight_edge.survey.judge import FOUND, Judge, classes_of
    from kdlight_edge.survey.report import open_report

    read = args.folder or args.source
    listed = _listed(args)[: args.frames or None]
    originals.check_survey(args, [path for path, _ in listed])
    with contextlib.ExitStack() as held:
        stop = held.enter_context(stopped_by_signals())
        classifier, tenure = open_tenant(args, model, Settings(), 1, stop, succeed=False)
        held.enter_context(classifier)
        held.enter_context(tenure)
        manifest = classifier.bundle.manifest
        classes = classes_of(manifest)
        if not classes:
            raise UsageError(f"{manifest.name} has no class that matters (positive in its card); --tiles measures one")
        if len(classes) > len(FOUND):
            many = f"{len(classes)} classes that matter; --tiles tells {len(FOUND)} apart"
            raise UsageError(f"{manifest.name} has {many}")
        with contextlib.closing(Judge(classifier, conf=args.conf, workers=args.threads)) as judge:
            size = args.tiles or 2 * max(manifest.input.width, manifest.input.height)
            texts = {label.id: label.text for label in manifest.labels}
            count = failed = 0
            written = args.report, args.csv, args.geojson
            with open_report(*written, classifier.origin, manifest, read, len(listed)) as report:
                for surface, picture in _surfaces(args, listed, judge, size, stop):
                    count += 1
                    failed += surface.survey is None
                    report.add(surface, picture)  # first, so that what was told is in the report
                    _tell(args, surface, classifier.origin, texts)
    if count < len(listed):
        tell_stopped(count, len(listed))
        return 130
    return 1 if failed else 0


def _tell(args: argparse.Namespace, surface: "Surface", origin: Any, texts: dict[str, str]) -> None:
    from kdlight_edge.survey.record import to_line, to_record

    try:
        print(json.dumps(to_record(surface, origin)) if args.json else to_line(surface, texts), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KDLightError(f"stdout cannot be written: {error.strerror}; make room there") from error


def _listed(args: argparse.Namespace) -> list[tuple[Path, str]]:
    from kdlight_edge.sources import kind_of
    from kdlight_edge.sources.folder import Folder

    if args.source is not None and (kind := kind_of(args.source)) != "folder":
        raise UsageError(f"--tiles surveys a picture or a folder of pictures; the source is of another kind ({kind})")
    return Folder(args.folder or args.source).listed()


def _surfaces(
    args: argparse.Namespace, listed: list[tuple[Path, str]], judge: "Judge", size: int, stop: threading.Event
) -> "Iterator[tuple[Surface, Any]]":
    """Survey one picture after the other; all cores work on one, so that only one is in memory."""
    from kdlight_edge.survey.exif import Taken, read_taken
    from kdlight_edge.survey.record import Surface

    for path, reason in listed:
        if stop.is_set():
            return
        if reason:
            yield Surface(str(path), Taken(), None, reason), None
            continue
        taken = read_taken(path)
        try:
            found = _one(args, path, taken, judge, size, stop)
        except DataError as error:
            yield Surface(str(path), taken, None, str(error)), None
            continue
        if found is None:
            return
        yield found


def _one(
    args: argparse.Namespace, path: Path, taken: "Taken", judge: "Judge", size: int, stop: threading.Event
) -> "tuple[Surface, Any] | None":
    from kdlight_edge.survey.paint import Overview, paint
    from kdlight_edge.survey.raster import open_raster
    from kdlight_edge.survey.record import Surface, findings_of

    side = 2400 if args.overlay_side is None else args.overlay_side
    overlap = 0.25 if args.overlap is None else args.overlap
    with contextlib.closing(open_raster(path, args.epsg)) as raster:
        view = Overview(raster.width, raster.height, side or 65_500) if args.report else None
        survey = judge.survey(raster, size, overlap, seen=None if view is None else view.add, stop=stop)
        here, unused = raster.georeference, "; ".join(filter(None, (raster.unplaced, raster.more)))
    del raster  # a whole picture in memory, which the overlay needs no more
    if survey is None:
        return None
    findings, coverage = findings_of(survey)
    scale = args.mm_per_pixel or (None if here is None else here.mm_per_pixel)
    bands = bands_of(args.bands)
    surface = Surface(str(path), taken, survey, "", here, unused, findings, coverage, scale, bands)
    return surface, None if view is None else paint(view.image, survey)
