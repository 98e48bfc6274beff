"""`kdlight-edge export`: a finished training in, a bundle out, proved equal and within its budget."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; nothing heavy is imported here."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training")
    parser.add_argument("--out", type=Path, required=True, metavar="NAME.kdl", help="where the bundle shall stand")
    parser.add_argument("--target", default="cpu", metavar="T", help="jetson, rpi, cpu, a board's name, or auto (cpu)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="TOML: names, intended use, terms of the data")
    parser.add_argument(
        "--int8", choices=("auto", "on", "off"), default="auto",
        help="keep INT8 where it is as right and faster (auto), always, or never",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", type=float, default=0.5, metavar="POINTS",
        help="accuracy that INT8 may lose, in points; a class twice as many (0.5)",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="tell what would be built and why, and stop")


def run(args: argparse.Namespace) -> int:
    """Export, and return the exit code."""
    from kdlight_export.plan import make_plan

    plan = make_plan(args.target, int8=args.int8, max_drop=args.max_drop)
    for line in plan.reasons:
        print(line, file=sys.stdout if args.plan else sys.stderr)
    if args.plan:
        return 0
    from kdlight_export.forge import export

    for line in export(args.run, args.out, plan, card_file=args.card):
        print(line, file=sys.stderr)
    print(args.out)
    return 0
