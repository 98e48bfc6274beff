"""``kdlight-edge infer``: classify a camera, a folder or a stream."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge import config
from kdlight_edge.commands import cluster, flags, outlets, tiles
from kdlight_edge.commands.given import DEFAULTS
from kdlight_edge.errors import KDLightError, UsageError

if TYPE_CHECKING:
    from kdlight_devices.governor import Governor
    from kdlight_edge.classifier import Classifier
    from kdlight_edge.decide import Settings
    from kdlight_edge.notify import Notifier
    from kdlight_edge.sinks import Sink
    from kdlight_edge.sinks.queues import Queues
    from kdlight_edge.sources import Patience, Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = (
        "Exit code: 0 all pictures answered, 1 some could not be read (the run goes on) or a result was lost, 2 usage, "
        "4 parity failed, 5 bundle refused, 6 source unavailable, 130 a folder or video file stopped before its end."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--camera", action="append", nargs="?", const="0", metavar="URI",
        help="0, /dev/video0, rtsp://..., http://..., gst:..., scene:crack; may be given again for more cameras",
    )  # fmt: skip
    where.add_argument("--folder", metavar="DIR", help="every picture in it and in the folders below")
    where.add_argument("--source", metavar="URI", help="any of them, or a picture or video file")
    parser.add_argument("--model", metavar="NAME.kdl", help="the bundle")
    parser.add_argument(
        "--state", metavar="DIR", help="answer with the bundle that update put there, else with --model"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout, in place of lines for people")
    parser.add_argument("--csv", metavar="FILE", help="also write a table")
    parser.add_argument("--sheet", metavar="FILE.png", help="also draw a contact sheet (.png, .jpg or .webp)")
    parser.add_argument(
        "--save", metavar="DIR", help="also write annotated copies, predictions.jsonl and predictions.csv"
    )
    parser.add_argument(
        "--save-video", metavar="FILE", help="of a camera or video: also write it with the answers drawn (.mp4, .mkv)"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="draw where the decided class was seen, with --save, --save-video or --event-dir",
    )
    parser.add_argument("--conf", type=float, metavar="P", help="smallest probability accepted (default: the bundle's)")
    parser.add_argument(
        "--quality", action="store_true", help="of cameras: abstain from dark, over-exposed, blurred and empty pictures"
    )
    parser.add_argument("--vote", type=float, metavar="S", help="of cameras: also one answer from the last S seconds")
    parser.add_argument("--topk", type=int, metavar="K", help="how many labels to report (default 1)")
    parser.add_argument("--frames", type=int, metavar="N", help="end after N pictures")
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help="onnxruntime, openvino, tensorrt, or auto (default)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="workers for a folder (default: all cores), else threads for an answer (default 1)",
    )
    parser.add_argument("--max-age", type=float, metavar="S", help="older results of a camera are marked stale")
    parser.add_argument("--max-fps", type=float, metavar="N", help="of cameras: at most N frames a second")
    parser.add_argument(
        "--governor",
        choices=("on", "off"),
        help="of cameras: fewer frames a second before a hot board slows itself down (default on; docs/telemetry.md)",
    )
    parser.add_argument("--stall-timeout", type=float, metavar="S", help="silence that is a loss (default 5)")
    parser.add_argument(
        "--identity-key", metavar="FILE", help="of scans: hash identifiers with this key (default: a new one each run)"
    )
    parser.add_argument("--dicom-out", metavar="DIR", help="of scans: write a report and a picture with the heat map")
    parser.add_argument("--dicom-to", metavar="AET@HOST:PORT", help="of scans: send both to this node")
    parser.add_argument("--dicom-spool", metavar="DIR", help="where they wait while it is away, also for the next run")
    parser.add_argument("--freeze-timeout", type=float, metavar="S", help="one same picture that is a loss (default 5)")
    parser.add_argument("--retries", type=int, metavar="N", help="attempts to reopen a lost camera (default: for ever)")
    parser.add_argument("--await-camera", action="store_true", help="wait for a camera that is not there at the start")
    tiles.add_arguments(parser)
    cluster.add_arguments(parser)
    outlets.add_arguments(parser)
    config.add_arguments(parser)
    parser.set_defaults(**DEFAULTS)


def run(args: argparse.Namespace) -> int:
    """Classify until the source ends or a signal comes; see `add_arguments` for the exit code."""
    flags.check(args)
    if args.print_config:
        print(args.print_config)
        return 0
    if args.tiles is not None:
        return tiles.run(args, args.model if args.state is not None else _model(args.model))
    if args.cluster is not None:
        return cluster.run(args, _model(args.model))
    from kdlight_edge.arenas import share_one
    from kdlight_edge.commands.outcome import tell, tell_stopped
    from kdlight_edge.commands.tenant import open_tenant
    from kdlight_edge.progress import Progress
    from kdlight_edge.pulse import Pulse
    from kdlight_edge.signals import stopped_by_signals
    from kdlight_edge.sinks.queues import Queues, Receipt
    from kdlight_edge.sources import Album, Answerable, Patience
    from kdlight_edge.stream import run as stream

    share_one()
    if args.identity_key is not None:
        from kdlight_edge.dicom.identity import RUN

        RUN.use(Path(args.identity_key))
    model = args.model if args.state is not None else _model(args.model)
    patience = Patience(
        args.stall_timeout, args.retries, at_start=args.await_camera, freeze_timeout=args.freeze_timeout
    )
    notifier = _notifier(model or args.state)
    with stopped_by_signals() as stop:
        source = _open(args, patience)
        album = isinstance(source, Album)
        try:
            flags.check_source(args, live=source.live)
            settings = _settings(args, live=source.live)
            # One thread an answer: a network this small gains nothing by more, and a folder's workers take the cores.
            threads = 1 if album else args.threads or 1
            classifier, tenure = open_tenant(args, model, settings, threads, stop, succeed=not album)
        except BaseException:
            source.close()
            raise
        governor = _governor(args) if source.live else None
        with classifier, tenure, Pulse(classifier, source, notifier, patience, governor=governor) as pulse:
            total = min(len(source), args.frames or len(source)) if isinstance(source, Album) else args.frames
            # Lines that scroll over a terminal are progress enough.
            bar = Progress(total, "pictures", quiet=source.live or sys.stdout.isatty())
            queues = Queues(stop, live=source.live)
            sinks = outlets.watched(args, classifier, [
                *outlets.open_sinks(args, classifier, source, stop, queues),
                *_sinks(args, classifier, source, queues),
                *tenure.sinks,
                *pulse.sinks,
                *([Receipt(source, queues)] if isinstance(source, Answerable) else []),
            ])  # fmt: skip
            try:
                summary = stream(
                    source, classifier, sinks,
                    stop=stop, workers=args.threads, limit=args.frames, progress=bar, pace=pulse.pace,
                )  # fmt: skip
            finally:
                bar.close()
        tell(summary, live=source.live)
        if stop.is_set() and not getattr(source, "endless", source.live) and not 0 < total <= summary.frames:
            tell_stopped(summary.frames, total)
            return 130
        # A camera does not fail with its receiver, and what was stopped could not wait for one: told, and no more.
        lost = not source.live and (album or not stop.is_set()) and queues.lost()
    return 1 if summary.errors or lost else 0


def _settings(args: argparse.Namespace, *, live: bool) -> "Settings":
    from kdlight_edge.decide import Settings

    if not live:
        return Settings(args.conf, args.topk)
    return Settings(args.conf, args.topk, args.max_age, args.quality, args.vote)


def _governor(args: argparse.Namespace) -> "Governor | None":
    from kdlight_devices.governor import NEVER, Governor, Limits, limits

    if args.governor == "on":
        return Governor(limits(most=args.max_fps))
    return None if args.max_fps is None else Governor(Limits(NEVER, args.max_fps))


def _model(given: str | None) -> str:
    from kdlight_edge.zoo import bundled

    if given is not None:
        return given
    names = ", ".join(str(path) for path in bundled())
    raise UsageError("--model is missing; " + (f"there are {names}" if names else "kdlight-edge export makes a bundle"))


def _notifier(model: str) -> "Notifier | None":
    """Return the way to the service manager that started this, told that the start may take long; None without one."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    from kdlight_edge.notify import LOADING_SECONDS, open_notifier

    notifier = open_notifier()
    if notifier is not None:
        notifier.send(STATUS=f"loading {model}", EXTEND_TIMEOUT_USEC=LOADING_SECONDS * 1_000_000)
    return notifier


def _open(args: argparse.Namespace, patience: "Patience") -> "Source":
    from kdlight_edge.sources import open_source

    if args.folder is not None:
        return _folder(args.folder)
    if args.source is not None:
        return open_source(args.source, patience)
    if len(args.camera) == 1:
        return open_source(args.camera[0], patience)
    from kdlight_edge.sources.several import open_several

    return open_several(args.camera, patience)


def _folder(path: str) -> "Source":
    from kdlight_edge.dicom.magic import is_dicom_folder
    from kdlight_edge.sources import Patience, tell

    if is_dicom_folder(path):
        from kdlight_edge.sources.dicom import DicomFolder

        return DicomFolder(path)
    from kdlight_edge.sources.folder import load

    return load(path, Patience(), tell)


def _sinks(args: argparse.Namespace, classifier: "Classifier", source: "Source", queues: "Queues") -> "list[Sink]":
    """Open what the flags ask for; stdout is last, so that its broken pipe finds the files written."""
    from kdlight_edge.sinks.csv import open_csv
    from kdlight_edge.sinks.jsonl import JsonLines
    from kdlight_edge.sinks.lines import open_lines, stdout_lines
    from kdlight_edge.sinks.text import Text
    from kdlight_edge.sources import Album

    live = not isinstance(source, Album)  # lines of what comes one by one are not held back
    # A run of what has no end is one of many: a service is started anew for a version, by its watchdog, after a cut.
    go_on = getattr(source, "endless", source.live)
    sinks: list[Sink] = []
    if args.save:
        from kdlight_edge.sinks.annotated import Annotated

        folder = Path(args.save)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KDLightError(f"{folder} cannot be made: {error.strerror}; choose another --save") from error
        drawn = outlets.explain(args, classifier)
        copies = Annotated(folder, classifier.bundle.manifest, drawn, args.camera, timed=go_on)
        lines = open_lines(folder / "predictions.jsonl", at_once=live, go_on=go_on)
        # Pictures wait in the first queue: few, or they would fill the memory.
        sinks += [
            queues.before("save", copies, room=16),
            queues.before("save jsonl", JsonLines(lines, classifier.origin)),
            queues.before("save csv", open_csv(folder / "predictions.csv", at_once=live, go_on=go_on)),
        ]
    if args.save_video:
        sinks.append(outlets.video(args, classifier, source, queues))
    if args.dicom_out is not None or args.dicom_to is not None:
        sinks.append(outlets.scan_answers(args, classifier, source, queues))
    if args.csv:
        sinks.append(queues.before("csv", open_csv(args.csv, at_once=live, go_on=go_on)))
    if args.sheet:
        from kdlight_edge.sinks.sheet import Sheet

        sinks.append(Sheet(args.sheet, classifier))
    out = stdout_lines(at_once=live or sys.stdout.isatty())
    answers = JsonLines(out, classifier.origin) if args.json else Text(out, numbered=live)
    sinks.append(queues.before("stdout", answers, after="audit"))
    return sinks
