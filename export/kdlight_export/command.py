"""`kdlight-edge export`: a finished training in, a bundle out, proved equal and within its budget."""

import argparse
import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.commands.named import named_path

if TYPE_CHECKING:
    from kdlight_export.plan import Plan


UNASKED = {"target": "cpu", "int8": "auto", "max_drop": 0.5}
"""What is built where nobody says otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; nothing heavy is imported here."""
    parser.add_argument(
        "run", type=named_path, metavar="RUN", help="folder of a finished training, or a bundle to build anew"
    )
    parser.add_argument("--out", type=named_path, metavar="NAME.kdl", help="where the bundle shall stand")
    parser.add_argument(
        "--data",
        type=named_path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="of a bundle: the folders it was trained on",
    )
    parser.add_argument(
        "--groups", type=named_path, nargs="+", action="extend", default=[], metavar="CSV",
        help="of a bundle: the --groups of its training",
    )  # fmt: skip
    parser.add_argument("--group-regex", metavar="RE", help="of a bundle: the --group-regex of its training")
    parser.add_argument(
        "--foreign", type=named_path, nargs="*", metavar="DIR",
        help="of a bundle: folders of pictures of other things, for its outlier output to learn; "
        "without a folder generated ones alone",
    )  # fmt: skip
    parser.add_argument(
        "--target", default=UNASKED["target"], metavar="T", help="jetson, rpi, cpu, a board's name, or auto (cpu)"
    )
    parser.add_argument("--card", type=named_path, metavar="FILE", help="TOML: names, intended use, terms of the data")
    parser.add_argument("--name", metavar="NAME", help="name of the bundle, instead of the card's")
    parser.add_argument(
        "--int8", choices=("auto", "on", "off"), default=UNASKED["int8"],
        help="keep INT8 where it is as right and faster (auto), always, or never",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", type=float, default=UNASKED["max_drop"], metavar="POINTS",
        help="accuracy that INT8 may lose, in points; a class twice as many (0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--compute-capability", action="append", default=[], metavar="CC",
        help="also build a TensorRT-RTX engine for this GPU, as 8.6, without having one; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--plan", action="store_true", help="tell what would be built for which boards and why, and stop"
    )


def _check_run(args: argparse.Namespace) -> None:
    """Refuse what is no finished run, and what only a bundle must be told."""
    from kdlight_edge.errors import UsageError
    from kdlight_train.finished import require

    require(args.run)
    told = {
        "--data": args.data, "--foreign": args.foreign, "--groups": args.groups, "--group-regex": args.group_regex,
    }  # fmt: skip
    for flag, value in told.items():
        if value or (flag == "--foreign" and value is not None):
            raise UsageError(f"{flag} is for a bundle; {args.run} is a run, which was told with train {flag}")


def run(args: argparse.Namespace) -> int:
    """Export, and return the exit code."""
    from kdlight_edge.errors import UsageError
    from kdlight_export.plan import make_plan

    capabilities = tuple(dict.fromkeys(args.compute_capability))
    plan = make_plan(args.target, int8=args.int8, max_drop=args.max_drop, compute_capabilities=capabilities)
    if capabilities:
        from kdlight_edge.engines.tensorrt_build import check_capability
        from kdlight_edge.engines.tensorrt_module import open_trt

        trt = open_trt("tensorrt_rtx")
        for capability in capabilities:
            check_capability(trt, capability)
    if args.plan:
        from kdlight_export.targets import facts

        print("\n".join([f"files to try for --target {plan.target}:", *(f"  {line}" for line in plan.reasons)]))
        print("\n".join(facts(plan.boards)))
        return 0
    if args.name is not None and not args.name.strip():
        raise UsageError("--name is empty; give a name, or leave it out for the card's")
    if args.out is None:
        raise UsageError("--out NAME.kdl is missing; it says where the bundle shall stand")
    _build(args, plan)
    print(args.out)
    return 0


def _wants_building(args: argparse.Namespace) -> bool:
    """Tell whether what was given of a bundle asks for new files: its pictures, or what only matters with them."""
    named = args.data, args.foreign is not None, args.groups, args.group_regex, args.compute_capability
    return any(named) or any(getattr(args, flag) != value for flag, value in UNASKED.items())


def _build(args: argparse.Namespace, plan: "Plan") -> None:
    """Build the bundle; what cannot be is refused before the work."""
    from kdlight_export.card import check_out, labels_of, read_card
    from kdlight_export.card_from_bundle import card_from_bundle, open_exported
    from kdlight_export.recard import recard
    from kdlight_train.command import say_to_people

    run, card = args.run, read_card(args.card)
    bundle = open_exported(args.run)
    if bundle is None:
        _check_run(args)
    elif args.card is None:
        card = card_from_bundle(bundle)
    if args.name is not None:
        card = dataclasses.replace(card, name=args.name)
    if bundle is not None and args.card is not None and not _wants_building(args):
        say_to_people(f"the files of {args.run} stay as they are; its card is that of {args.card}")
        recard(bundle, args.out, card)
        return
    from kdlight_export.forge import export  # late: another card needs the runtime alone
    from kdlight_train.run_from_bundle import run_from_bundle

    for line in plan.reasons:
        say_to_people(line)
    check_out(args.out, card)
    with ExitStack() as stack:
        if bundle is not None:
            labels_of(tuple(label.id for label in bundle.manifest.labels), card)
            run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdlight-run-")))
            run_from_bundle(
                bundle, args.data, run, say_to_people, args.foreign, groups=args.groups, group_regex=args.group_regex
            )
        for line in export(run, args.out, plan, card=card):
            say_to_people(line)
