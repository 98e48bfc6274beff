"""What the flags of ``infer`` may say, each by itself and together."""

import argparse

from kdlight_edge.commands import cluster, outlets, tiles
from kdlight_edge.commands.threads import check_threads
from kdlight_edge.errors import UsageError


def check(args: argparse.Namespace) -> None:
    """Refuse flags whose values cannot be, or not together; nothing has been opened by then."""
    if "" in {args.source, *(args.camera or ()), args.folder}:
        raise UsageError("the source is empty; give a camera, a folder or a file")
    _check_empty(args)
    if args.conf is not None and not 0 <= args.conf <= 1:
        raise UsageError(f"--conf {args.conf:g} is not a probability; give 0 to 1")
    check_threads(args.threads)
    for flag, value, least in (("--topk", args.topk, 1), ("--frames", args.frames, 0)):
        if value < least:
            raise UsageError(f"{flag} {value} is too small; give {least} or more")
    if args.retries is not None and args.retries < 0:
        raise UsageError(f"--retries {args.retries} is too small; give 0 or more")
    for flag, seconds in (
        ("--max-age", args.max_age),
        ("--stall-timeout", args.stall_timeout),
        ("--freeze-timeout", args.freeze_timeout),
        ("--vote", args.vote),
    ):
        if seconds is not None and not seconds > 0:
            raise UsageError(f"{flag} {seconds:g} is not a time; give seconds above 0")
    if args.max_fps is not None and not args.max_fps > 0:
        raise UsageError(f"--max-fps {args.max_fps:g} is not a rate; give frames a second above 0")
    if args.vote is not None and args.vote > 60:  # noqa: PLR2004 - a bound on what is remembered
        raise UsageError(f"--vote {args.vote:g} looks back too far; give 60 seconds or less")
    tiles.check(args)
    cluster.check(args)
    outlets.check(args)


def _check_empty(args: argparse.Namespace) -> None:
    """Refuse empty texts: a variable that the shell does not know would switch an audit off without a word."""
    for name, value in vars(args).items():
        if name == "model" and args.state is not None:
            continue  # what the service's unit says where no bundle was installed with it: an update brings one
        if value == "":
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is empty; leave it out, or see that what should stand there is set")
