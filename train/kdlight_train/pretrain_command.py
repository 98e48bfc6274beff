"""`kdlight-edge pretrain`: pictures without labels in, a start for students out."""

import argparse

from kdlight_edge.commands.named import named_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; nothing heavy is imported here."""
    parser.add_argument(
        "--data", type=named_path, nargs="+", required=True, metavar="DIR",
        help="folders of pictures as train takes them; of train/ and test/ only train/ is used, and no label is read",
    )  # fmt: skip
    parser.add_argument("--out", type=named_path, required=True, metavar="FILE", help="the start, for train --start")
    parser.add_argument(
        "--recipe", default="start", metavar="FILE", help="TOML file or the name of a built-in recipe (start)"
    )
    parser.add_argument("--teacher", metavar="NAME", help="torchvision classifier with a feature map (mobilenet_v2)")
    parser.add_argument("--teacher-weights", type=named_path, metavar="FILE", help="ImageNet weights; else downloaded")
    parser.add_argument("--student", choices=["nano", "small", "base", "paper"], help="member of the family (small)")
    parser.add_argument("--imgsz", type=int, metavar="N", help="side of the student's picture in pixels (128)")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the pictures")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything that is random, as for the training (0)")
    parser.add_argument(
        "--groups", type=named_path, nargs="+", action="extend", default=[], metavar="CSV",
        help="as for the training that will start there: its test pictures are then the same and not seen",
    )  # fmt: skip
    parser.add_argument("--group-regex", metavar="RE", help="as --groups")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def run(args: argparse.Namespace) -> int:
    """Pretrain, and return the exit code."""
    from kdlight_train.command import hush, say_to_people
    from kdlight_train.place import choose_place, leave
    from kdlight_train.pretrain import pretrain
    from kdlight_train.recipe import read_recipe

    changes = {
        "teacher.name": args.teacher, "student.name": args.student, "student.epochs": args.epochs,
        "input.imgsz": args.imgsz, "seed": args.seed,
    }  # fmt: skip
    recipe = read_recipe(args.recipe, changes)
    place = choose_place(args.device)
    say = say_to_people if place.first else hush
    try:
        pretrain(
            args.data, args.out, recipe, place, say, teacher_weights=args.teacher_weights,
            groups=args.groups, group_regex=args.group_regex,
        )  # fmt: skip
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        raise
    finally:
        leave()
    if place.first:
        print(args.out)
    return 0
