"""Flags of ``infer`` that carry results elsewhere: files that rotate, an audit, MQTT, a webhook, metrics."""

import argparse
import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.commands import originals
from kdlight_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdlight_edge.classifier import Classifier
    from kdlight_edge.events import Events
    from kdlight_edge.explain import Explain
    from kdlight_edge.sinks import Sink
    from kdlight_edge.sinks.mqtt import Mqtt
    from kdlight_edge.sinks.outbox import Delivery, Outbox
    from kdlight_edge.sinks.queues import Queues
    from kdlight_edge.sources import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    group = parser.add_argument_group("results elsewhere (docs/sinks.md, docs/audit.md)")
    group.add_argument("--json-file", metavar="FILE", help="also append JSON lines to a file, over many runs")
    group.add_argument("--audit", metavar="FILE", help="also append lines sealed in a chain: audit verify checks them")
    group.add_argument("--audit-key", metavar="FILE", help="seal them with the key in this file")
    group.add_argument(
        "--rotate",
        metavar="SIZE",
        help="begin the next --json-file or --audit at SIZE (10MB); 9 old ones, all audits stay",
    )
    group.add_argument(
        "--mqtt", metavar="URL", help="mqtt://HOST or mqtts://HOST; results wait on the disk while it is away"
    )
    group.add_argument(
        "--mqtt-device", metavar="NAME", help="topics are kdlight/NAME/result and status (default: host name)"
    )
    group.add_argument("--mqtt-store", metavar="FILE", help="where they wait (default: the state folder)")
    group.add_argument("--home-assistant", action="store_true", help="tell Home Assistant of this board, by MQTT")
    group.add_argument(
        "--mqtt-update", action="store_true", help="let a message begin kdlight-edge update here (docs/mqtt.md)"
    )
    group.add_argument("--webhook", metavar="URL", help="post each result as JSON")
    group.add_argument("--event-dir", metavar="DIR", help="of cameras: events.jsonl, and the frames around each event")
    group.add_argument(
        "--event-hold",
        type=float,
        metavar="S",
        help="of cameras: a positive class seen for S seconds is an event, told to every outlet (2 with --event-dir)",
    )
    group.add_argument("--metrics", metavar="[HOST:]PORT", help="figures for Prometheus on /metrics, and /healthz")
    group.add_argument(
        "--web", nargs="?", const="8080", metavar="[HOST:]PORT", help="a page with the live picture (8080; docs/web.md)"
    )
    group.add_argument("--web-token", metavar="FILE", help="what opens the page; any address but 127.0.0.1 needs one")


def check(args: argparse.Namespace) -> None:
    """Refuse flags that mean nothing without another."""
    for flag, value, other, needed in (
        ("--audit-key", args.audit_key, "--audit", args.audit),
        ("--rotate", args.rotate, "--json-file or --audit", args.json_file or args.audit),
        ("--mqtt-device", args.mqtt_device, "--mqtt", args.mqtt),
        ("--mqtt-store", args.mqtt_store, "--mqtt", args.mqtt),
        ("--dicom-spool", args.dicom_spool, "--dicom-to", args.dicom_to),
        ("--home-assistant", args.home_assistant or None, "--mqtt", args.mqtt),
        ("--mqtt-update", args.mqtt_update or None, "--mqtt", args.mqtt),
        (
            "--explain",
            args.explain or None,
            "--save, --save-video or --event-dir",
            args.save or args.save_video or args.event_dir,
        ),
        ("--web-token", args.web_token, "--web", args.web),
    ):
        if value is not None and needed is None:
            raise UsageError(f"{flag} says nothing without {other}")
    if args.web is not None:
        from kdlight_edge.web.door import door_of

        door_of(args.web, args.web_token)


def open_sinks(
    args: argparse.Namespace, classifier: "Classifier", source: "Source", stop: threading.Event, queues: "Queues"
) -> "list[Sink]":
    """Open what the flags ask for; where one fails, those before it are closed."""
    _check_events(args, source)
    originals.check(args, source)
    sinks: list[Sink] = []
    deliveries = queues.deliveries
    with contextlib.ExitStack() as undo:

        def add(sink: "Sink") -> None:
            undo.callback(sink.close)
            sinks.append(sink)

        for name, sink in _files(args, classifier, source):
            add(queues.before(name, sink))
        if args.mqtt:
            mqtt = _mqtt(args, classifier, stop, live=source.live)
            deliveries.append(mqtt.delivery)
            add(mqtt)
        if args.webhook:
            from kdlight_edge.sinks.outbox import Outbox
            from kdlight_edge.sinks.webhook import Webhook

            outbox = Outbox("webhook", Webhook(args.webhook, classifier.origin), stop=stop, wait=not source.live)
            deliveries.append(outbox.delivery)
            add(outbox)
        if args.event_dir:
            events = _event_folder(args, classifier, stop)
            deliveries.append(events.delivery)
            add(events)
        if args.metrics:
            add(_metrics(args, classifier, source, deliveries))
        if args.web is not None:
            add(_web(args, classifier, source, deliveries))
        undo.pop_all()
    return sinks


def explain(args: argparse.Namespace, classifier: "Classifier") -> "Explain | None":
    """Return what draws maps, where they are asked for."""
    if not args.explain:
        return None
    import functools

    from kdlight_edge.explain import explained

    return functools.partial(explained, classifier)


def _files(args: argparse.Namespace, classifier: "Classifier", source: "Source") -> "Iterator[tuple[str, Sink]]":
    if not (args.audit or args.json_file):
        return
    from kdlight_edge.sinks.rotate import KEPT, Rotating, size_of
    from kdlight_edge.sources import Album

    limit = size_of(args.rotate) if args.rotate else 0
    if args.audit:
        from kdlight_edge.chain import read_key
        from kdlight_edge.sinks.audit import Audit

        key = read_key(args.audit_key) if args.audit_key else b""
        yield "audit", Audit(args.audit, classifier.origin, key=key, rotate=limit)
    if args.json_file:
        from kdlight_edge.sinks.jsonl import JsonLines

        at_once = not isinstance(source, Album)
        lines = Rotating(args.json_file, limit=limit, keep=KEPT, at_once=at_once, patient=source.live)
        yield "json-file", JsonLines(lines, classifier.origin)


def _mqtt(args: argparse.Namespace, classifier: "Classifier", stop: threading.Event, *, live: bool) -> "Mqtt":
    import socket

    from kdlight_edge.sinks.broker import broker_of, check_device
    from kdlight_edge.sinks.desk import Desk
    from kdlight_edge.sinks.mqtt import Mqtt
    from kdlight_edge.sinks.spare import default_path, open_store

    broker = broker_of(args.mqtt)
    device = check_device(socket.gethostname() if args.mqtt_device is None else args.mqtt_device)
    conf = classifier.settings.conf
    desk = Desk(
        device, classifier.origin, classifier.engine.artifact, own_conf=conf is not None, update=args.mqtt_update
    )
    store = open_store(Path(args.mqtt_store or default_path(device)), live=live)
    greetings = []
    if args.home_assistant:
        from kdlight_edge.sinks.home_assistant import greeting

        greetings = [greeting(broker, device, classifier.origin)]
    return Mqtt(broker, device, store, classifier.origin, stop=stop, desk=desk, greetings=greetings)


def watched(args: argparse.Namespace, classifier: "Classifier", sinks: "list[Sink]") -> "list[Sink]":
    """Return the sinks, behind what tells them of events where these are asked for."""
    if args.event_hold is None and not args.event_dir:
        return sinks
    from kdlight_edge.sinks import Listener
    from kdlight_edge.sinks.watch import Watch

    return [Watch(_events(args, classifier), [sink for sink in sinks if isinstance(sink, Listener)]), *sinks]


def _check_events(args: argparse.Namespace, source: "Source") -> None:
    flag = "--event-dir" if args.event_dir else "--event-hold"
    if not source.live and (args.event_dir or args.event_hold is not None):
        raise UsageError(f"{flag} says nothing without a camera; an event is a class held for a while")
    if args.event_hold is not None and not args.event_hold > 0:
        raise UsageError(f"--event-hold {args.event_hold:g} is not a time; give seconds above 0")


def _events(args: argparse.Namespace, classifier: "Classifier") -> "Events":
    from kdlight_edge.events import Events

    labels = classifier.bundle.manifest.labels
    positive = {label.id for label in labels if label.positive} or {label.id for label in labels}
    return Events(positive, 2.0 if args.event_hold is None else args.event_hold)


def _event_folder(args: argparse.Namespace, classifier: "Classifier", stop: threading.Event) -> "Outbox":
    from kdlight_edge.sinks.events import EventFolder
    from kdlight_edge.sinks.outbox import Outbox

    drawn = explain(args, classifier)
    # It follows the frames that it gets by itself: of those that a slow disk costs it, it could save nothing.
    folder = EventFolder(Path(args.event_dir), _events(args, classifier), classifier.origin, explain=drawn)
    return Outbox("events", folder, stop=stop, room=16)  # pictures wait in it: few, or they would fill the memory


def _metrics(
    args: argparse.Namespace, classifier: "Classifier", source: "Source", deliveries: "list[Callable[[], Delivery]]"
) -> "Sink":
    from kdlight_edge.sinks.metrics import Metrics
    from kdlight_edge.sources import tell
    from kdlight_edge.web.server import address_of

    metrics = Metrics(
        address_of(args.metrics, "--metrics", 9464), source, classifier.origin,
        stall_timeout=args.stall_timeout, deliveries=deliveries,
    )  # fmt: skip
    tell(f"metrics on http://{args.metrics.rpartition(':')[0] or '127.0.0.1'}:{metrics.port}/metrics")
    return metrics


def _web(
    args: argparse.Namespace, classifier: "Classifier", source: "Source", deliveries: "list[Callable[[], Delivery]]"
) -> "Sink":
    from kdlight_edge.plain import place_of
    from kdlight_edge.sinks.web import Web
    from kdlight_edge.sources import tell
    from kdlight_edge.web.door import door_of

    door = door_of(args.web, args.web_token)
    web = Web(door, classifier, source, stall_timeout=args.stall_timeout, deliveries=deliveries)
    tell(f"page on http://{place_of(door.host, web.port)}/{' (asks for the token)' if door.token else ''}")
    return web


def video(args: argparse.Namespace, classifier: "Classifier", source: "Source", queues: "Queues") -> "Sink":
    """Return what writes the annotated video."""
    from kdlight_edge.sinks.annotated import Annotated
    from kdlight_edge.sinks.video import Video
    from kdlight_edge.sources import Album

    if isinstance(source, Album) or len(args.camera or ()) > 1:
        raise UsageError("--save-video needs one camera or a video file; start one run for each camera")
    drawing = Annotated(Path(args.save_video).parent, classifier.bundle.manifest, explain(args, classifier))
    sink = Video(Path(args.save_video), drawing, None if source.live else getattr(source, "rate", 25.0))
    return queues.before("video", sink, room=16)  # pictures wait in it: few, or they would fill the memory


def scan_answers(args: argparse.Namespace, classifier: "Classifier", source: "Source", queues: "Queues") -> "Sink":
    """Return what answers scans with a report and a picture, into a folder, to a node, or both."""
    from kdlight_edge.dicom.scan import CAUTION
    from kdlight_edge.dicom.send import Sender, read_node
    from kdlight_edge.dicom.spool import Spool
    from kdlight_edge.sinks.dicom import DicomAnswers
    from kdlight_edge.sinks.queues import Returning
    from kdlight_edge.sources import Answerable, tell

    sender = None
    if args.dicom_to is not None:
        node = read_node(args.dicom_to)
        waiting = None if args.dicom_spool is None else Spool(Path(args.dicom_spool), tell)
        sender = Sender(node, tell, waiting=waiting)
        queues.losses.append(lambda: sender.lost)
    tell(f"answers to scans are made; {CAUTION}")
    folder = None if args.dicom_out is None else Path(args.dicom_out)
    answers = DicomAnswers(classifier, folder=folder, sender=sender, tell=tell)
    return Returning(answers, source) if isinstance(source, Answerable) else answers
