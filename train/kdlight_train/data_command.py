"""``kdlight-edge data check``: what is in a folder of pictures, and what is wrong with it, before any training."""

import argparse
import json
import sys

from kdlight_edge.commands.named import named_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    verbs = parser.add_subparsers(dest="data_verb", metavar="WHAT", required=True)
    check = verbs.add_parser(
        "check",
        help="count, hash and compare the pictures",
        description=(
            "Counts the pictures of every split and class, and finds unreadable files, exact and near duplicates "
            "(also across splits), label conflicts, tiny pictures and groups in several splits."
        ),
        epilog="Exit code 1 when files are unreadable, or identical pictures are in several splits or classes.",
        allow_abbrev=False,
    )
    check.add_argument(
        "data",
        metavar="DIR",
        type=named_path,
        nargs="+",
        help="train/CLASS/*, CLASS/* or a MedMNIST .npz; several are pooled",
    )
    check.add_argument(
        "--groups",
        metavar="FILE.csv",
        type=named_path,
        action="append",
        default=[],
        help="columns file and group (patient, wall): a group is never split; once for each DIR",
    )
    check.add_argument("--group-regex", metavar="REGEX", help="the first ( ) of it, in the file name, is the group")
    check.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check the data and return 1 where something serious was found."""
    from kdlight_train.audit import audit
    from kdlight_train.data import open_data

    data = open_data(args.data, groups=args.groups, group_regex=args.group_regex)
    number = sum(map(len, data.splits.values()))
    if number > 10_000 and sys.stderr.isatty():  # noqa: PLR2004 - below, it takes a few seconds
        print(f"looking at {number:,} pictures ...", file=sys.stderr)
    found = audit(data)
    if args.json:
        print(json.dumps({"data": [str(path) for path in args.data], "labels": data.labels, **found.to_json()}))
    else:
        print("\n".join([" + ".join(str(path) for path in args.data), "", *found.lines()]))
    return 1 if found.serious() else 0
