"""``kdlight-edge eval``: measure a bundle's accuracy on labelled pictures."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlight_edge.commands.named import named_path
from kdlight_edge.commands.threads import check_threads

if TYPE_CHECKING:
    from kdlight_edge.labelled import Labelled

COLUMNS = ("sensitivity", "specificity", "precision", "f1", "auc")
"""Figures of each class in the table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", metavar="NAME.kdl", help="the bundle")
    parser.add_argument(
        "--data", metavar="DIR", nargs="+", required=True, type=named_path,
        help="folder with a folder of pictures for each class; several are pooled by class",
    )  # fmt: skip
    parser.add_argument(
        "--map", metavar="FROM=TO", action="append", default=[],
        help="label of a class folder where the names differ, '-' leaves it out; or a CSV file with rows from,to; "
        "may be given again, and folders with the same label are pooled",
    )  # fmt: skip
    parser.add_argument("--engine", default="auto", metavar="NAME", help="engine to run on (default: auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="pictures at a time (default: all cores)")
    parser.add_argument("--predictions", metavar="FILE.jsonl", help="also write each prediction with its truth there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Classify every picture and print the figures; 1 when pictures could not be read."""
    from kdlight_edge.bundle import open_bundle
    from kdlight_edge.commands import originals
    from kdlight_edge.labelled import LEFT_OUT, Labelled, labels_of, read_map

    check_threads(args.threads)
    ids = [label.id for label in open_bundle(args.model).manifest.labels]
    mapping = read_map(args.map)
    album = Labelled(labels_of(args.data, ids, mapping))
    if args.predictions:
        originals.check_evaluation(args, [*(path for path, _ in album.listed()), *map(Path, args.map)])
    for label in ids:
        if label not in album.labels.values():
            print(
                f"kdlight-edge: {' '.join(map(str, args.data))} has no pictures of the label {label}", file=sys.stderr
            )
    record = _evaluate(args, album, len(ids))
    record["left_out"] = sorted(name for name, label in mapping.items() if label == LEFT_OUT)
    for entry in record["unreadable"]["files"]:
        print(f"kdlight-edge: {entry['source']}: {entry['reason']}", file=sys.stderr)
    print(json.dumps(record, indent=1) if args.json else "\n".join(_lines(record)))
    return 1 if record["unreadable"]["count"] else 0


def _evaluate(args: argparse.Namespace, album: "Labelled", labels: int) -> dict[str, Any]:
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.decide import Settings
    from kdlight_edge.evaluation import evaluate
    from kdlight_edge.progress import Progress
    from kdlight_edge.signals import stopped_by_signals
    from kdlight_edge.sinks.lines import open_lines

    settings = Settings(topk=labels)
    # Each worker takes a core, so the engine inside it takes one thread.
    with (
        open_classifier(args.model, engine=args.engine, threads=1, settings=settings) as classifier,
        stopped_by_signals() as stop,
    ):
        lines = open_lines(args.predictions, at_once=False) if args.predictions else None
        progress = Progress(len(album), "pictures", label="eval")
        record = evaluate(classifier, album, workers=args.threads, lines=lines, stop=stop, progress=progress)
        progress.close()
        if stop.is_set():
            # Figures of some of the pictures would be taken for figures of all.
            raise KeyboardInterrupt
        return record


def _lines(record: dict[str, Any]) -> list[str]:
    """Lay the figures out for people."""
    bundle = record["bundle"]
    who = f"{bundle['name']} {bundle['version']} ({bundle['digest'][:16]}), {record['engine']} {record['precision']}"
    low, high = record["ci95"]
    lines = [
        f"{who}, {record['n']} pictures, {record['images_per_second']:.0f} a second",
        f"  accuracy           {_share(record['accuracy'])}   95 % interval {_share(low)} to {_share(high)}",
        f"  balanced accuracy  {_share(record['balanced_accuracy'])}",
        f"  macro F1           {_share(record['macro_f1'])}",
        f"  AUC                {_share(record['auc'])}",
        f"  ECE                {_share(record['ece'])}   so few pictures alone cause {_share(record['ece_by_chance'])}",
        f"  accepted           {_share(record['coverage'])}   of these right {_share(record['accuracy_of_accepted'])}",
        f"  abstained {record['abstained']}, outliers {record['outliers']}, unreadable {record['unreadable']['count']}",
    ]
    if record["left_out"]:
        lines.append(f"  left out: {', '.join(record['left_out'])}")
    return lines + _table(record)


def _table(record: dict[str, Any]) -> list[str]:
    """Lay out the figures of each class, and what its pictures were answered as."""
    names = list(record["per_class"])
    width = max(len(name) for name in names)
    lines = [f"  {'':<{width}}  {'n':>6}  {'  '.join(f'{column:>11}' for column in COLUMNS)}   answered as"]
    for name, row in zip(names, record["confusion"], strict=True):
        entry = record["per_class"][name]
        shares = "  ".join(f"{_share(entry[column]):>11}" for column in COLUMNS)
        answers = ", ".join(f"{count} {other}" for other, count in zip(names, row, strict=True) if count)
        lines.append(f"  {name:<{width}}  {entry['n']:>6}  {shares}   {answers or '-'}")
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
