"""`kdlight-edge train`: pictures in, a student and its report out."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from kdlight_edge.commands.named import named_path
from kdlight_edge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; nothing heavy is imported here."""
    parser.add_argument(
        "--data", type=named_path, nargs="+", required=True, metavar="DIR",
        help="train/CLASS/* (val/ and test/ beside it if you have them), plain CLASS/*, or a MedMNIST .npz; "
        "several are pooled by class name",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=named_path, required=True, metavar="RUN", help="folder for checkpoints and the report"
    )
    parser.add_argument("--recipe", metavar="FILE", help="TOML file or the name of a built-in recipe")
    parser.add_argument("--teacher", metavar="NAME", help="torchvision classifier (mobilenet_v2)")
    parser.add_argument("--teacher-weights", type=named_path, metavar="FILE", help="ImageNet weights; else downloaded")
    parser.add_argument("--student", choices=["nano", "small", "base", "paper"], help="member of the family (small)")
    parser.add_argument(
        "--start", metavar="FILE",
        help="the student's first weights: of kdlight-edge pretrain, RUN/student.pt, or none "
        "(for small those that come with kdlight-edge)",
    )  # fmt: skip
    parser.add_argument("--imgsz", type=int, metavar="N", help="side of the input in pixels, a multiple of 32 (128)")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of the student")
    parser.add_argument(
        "--views", type=int, metavar="N", help="augmented passes that the teacher answers; later epochs repeat them"
    )
    parser.add_argument("--teacher-epochs", type=int, metavar="N", help="epochs of the teacher")
    parser.add_argument("--teacher-imgsz", type=int, metavar="N", help="side of the teacher's picture in pixels (160)")
    parser.add_argument("--teacher-frozen", type=int, metavar="N",
                        help="first stages of the teacher that keep their ImageNet weights (0)")  # fmt: skip
    parser.add_argument("--teachers", type=int, metavar="N",
                        help="teachers, each of a seed of its own, whose mean answers are taught (1)")  # fmt: skip
    parser.add_argument("--batch", type=int, metavar="N", help="pictures a step, over all processes")
    parser.add_argument("--lr", type=float, metavar="X", help="peak learning rate of the student")
    parser.add_argument("--method", choices=["none", "kl", "standardised", "dist", "dkd"],
                        help="distillation loss (kl)")  # fmt: skip
    parser.add_argument("--hint", type=float, metavar="X", help="weight of the teacher's feature map in the loss")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything that is random (0)")
    parser.add_argument("--student-seed", type=int, metavar="N",
                        help="of the student alone: pictures, split and teacher stay (0)")  # fmt: skip
    parser.add_argument("--groups", type=named_path, nargs="+", action="extend", default=[], metavar="CSV",
                        help="columns file,group: pictures of one group (patient, wall) stay together")  # fmt: skip
    parser.add_argument("--group-regex", metavar="RE", help="as --groups, by the first capture group in the file name")
    parser.add_argument("--foreign", type=named_path, nargs="+", action="extend", default=[], metavar="DIR",
                        help="folders of pictures of other things, to be called outliers")  # fmt: skip
    parser.add_argument("--unlabelled", type=named_path, nargs="+", action="extend", default=[], metavar="DIR",
                        help="folders of pictures without labels, to learn the teacher's answers to")  # fmt: skip
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--cache", type=named_path, metavar="DIR", help="where fine-tuned teachers are kept for re-use")
    parser.add_argument("--resume", action="store_true", help="go on with the training in RUN")
    parser.add_argument("--qat", action="store_true",
                        help="also teach the finished student to bear the 8 bits of export")  # fmt: skip
    parser.add_argument("--qat-epochs", type=int, metavar="N", help="epochs of that (6)")
    parser.add_argument("--qat-lr", type=float, metavar="X", help="learning rate of that (5e-5)")
    parser.add_argument("--from", type=named_path, dest="bundle", metavar="NAME.kdl",
                        help="with --qat: the student of this bundle, where its run is gone")  # fmt: skip
    parser.epilog = "Several processes: torchrun --nproc-per-node 2 -m -- kdlight_edge.cli train ..."


def run(args: argparse.Namespace) -> int:
    """Train, and return the exit code."""
    from kdlight_train.place import choose_place, leave
    from kdlight_train.recipe import read_recipe
    from kdlight_train.start import start_of
    from kdlight_train.training import train

    _check(args)
    recipe = read_recipe(args.recipe, _changes(args))
    if args.unlabelled and recipe.distil.method == "none":
        raise UsageError("--unlabelled: pictures without labels need a teacher; give a --method other than none")
    place = choose_place(args.device)
    say = say_to_people if place.first else hush
    try:
        if args.bundle is None and not (args.qat and _ended(args)):
            train(
                args.data, args.out, recipe, place, say,
                teacher_weights=args.teacher_weights, cache=args.cache or default_cache(), groups=args.groups,
                group_regex=args.group_regex, start=start_of(args.start, recipe.student.name), foreign=args.foreign,
                unlabelled=args.unlabelled, resume=args.resume,
            )  # fmt: skip
        if args.qat:
            from kdlight_train.qat_run import qat

            qat(args.data, args.out, place, say, settings=_qat_changes(args), bundle=args.bundle,
                recipe=recipe if _given(args) else None, groups=args.groups, group_regex=args.group_regex)  # fmt: skip
    except KeyboardInterrupt:
        say(f"stopped; the same command{'' if args.resume else ' with --resume'} goes on")
        raise
    finally:
        leave()
    if place.first:
        print(args.out / ("student.int8.pt" if args.qat else "report.json"))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that speak of what this call does not do."""
    if not args.qat:
        for flag, value in (("--from", args.bundle), ("--qat-epochs", args.qat_epochs), ("--qat-lr", args.qat_lr)):
            if value is not None:
                raise UsageError(f"{flag} belongs to --qat; add it")
    elif (args.bundle is not None or _ended(args)) and not args.resume and _given(args):
        which = args.bundle or args.out
        raise UsageError(f"{which} holds a finished student, whose recipe stays; leave out what sets {_given(args)[0]}")
    else:
        from kdlight_train.qat_run import settings_of

        settings_of(_qat_changes(args))  # told before the student's own training, which may take hours


def _given(args: argparse.Namespace) -> list[str]:
    """Name what was given that decides how a student is made."""
    flags = {
        "recipe": args.recipe, "start": args.start, "foreign": args.foreign, "unlabelled": args.unlabelled,
        **_changes(args),
    }  # fmt: skip
    return [key for key, value in flags.items() if value not in (None, [])]


def _ended(args: argparse.Namespace) -> bool:
    """Tell whether RUN holds a finished student."""
    return bool((args.out / "student.pt").is_file())


def _qat_changes(args: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in {"epochs": args.qat_epochs, "lr": args.qat_lr}.items() if value is not None}


def default_cache() -> Path:
    """Return the folder for re-usable work: KDLIGHT_CACHE, or kdlight-edge under the user's cache folder."""
    own = os.environ.get("KDLIGHT_CACHE")
    if own:
        return Path(own)
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError("no home folder is known; give --cache DIR") from error
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "kdlight-edge"


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as dotted recipe keys, None where a flag was not given."""
    return {
        "teacher.name": args.teacher,
        "teacher.epochs": args.teacher_epochs,
        "teacher.imgsz": args.teacher_imgsz,
        "teacher.frozen": args.teacher_frozen,
        "teacher.count": args.teachers,
        "student.name": args.student,
        "student.epochs": args.epochs,
        "student.batch": args.batch,
        "student.lr": args.lr,
        "distil.method": args.method,
        "distil.hint": args.hint,
        "distil.views": args.views,
        "input.imgsz": args.imgsz,
        "seed": args.seed,
        "student.seed": args.student_seed,
    }


def say_to_people(line: str) -> None:
    """Write a line to stderr: stdout is for data."""
    print(line, file=sys.stderr, flush=True)


def hush(_line: str) -> None:
    """Say nothing: another process does."""
