"""What the flags of ``infer`` may say, each by itself and together."""

import argparse

from kdlight_edge.commands import cluster, outlets, tiles
from kdlight_edge.commands.given import given
from kdlight_edge.commands.threads import check_threads
from kdlight_edge.errors import UsageError

OF_CAMERAS = (
    "quality", "vote", "max_age", "max_fps", "governor", "stall_timeout", "freeze_timeout", "retries", "await_camera",
)  # fmt: skip
"""Flags that say nothing about a folder or a file, whose pictures wait and have no time between them."""

OF_ONE_CAMERA = ("vote", "event_dir", "event_hold")
"""Flags that add up what came one after another: to a listener for scans that is one patient after another."""

DAY = 86_400
"""Seconds: the longest wait for a frame; connections and their sockets know no endless ones."""

OF_SCANS = ("dicom_out", "dicom_to")
"""Flags that say nothing about pictures that are no scans."""


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
    _check_times(args)
    tiles.check(args)
    cluster.check(args)
    outlets.check(args)


def _check_times(args: argparse.Namespace) -> None:
    """Refuse waits, rates and attempts that cannot be."""
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
    if args.stall_timeout > DAY:
        raise UsageError(
            f"--stall-timeout {args.stall_timeout:g} is too long a wait; give {DAY} seconds (a day) or less"
        )
    if args.max_fps is not None and not args.max_fps > 0:
        raise UsageError(f"--max-fps {args.max_fps:g} is not a rate; give frames a second above 0")
    if args.max_fps is not None and args.max_fps < 1 / DAY:
        raise UsageError(f"--max-fps {args.max_fps:g} is less than one frame a day; give {1 / DAY:.6f} or more")
    if args.vote is not None and args.vote > 60:  # noqa: PLR2004 - a bound on what is remembered
        raise UsageError(f"--vote {args.vote:g} looks back too far; give 60 seconds or less")


def _check_empty(args: argparse.Namespace) -> None:
    """Refuse empty texts: a variable that the shell does not know would switch an audit off without a word."""
    for name, value in vars(args).items():
        if name == "model" and args.state is not None:
            continue  # what the service's unit says where no bundle was installed with it: an update brings one
        if value == "":
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is empty; leave it out, or see that what should stand there is set")


def check_source(args: argparse.Namespace, *, live: bool) -> None:
    """Refuse flags that say nothing about the source, which is open by then; a listener for scans is ``live`` too.

    Raises:
        UsageError: there are such flags; all are named.
    """
    beside = given(args, OF_CAMERAS if not live else OF_ONE_CAMERA if _may_hold_scans(args) else ())
    if args.source is not None and "--await-camera" in beside:
        beside.remove("--await-camera")  # the service's unit says it of whatever source it is given
    if beside:
        raise UsageError(_superfluous(beside, "a camera"))
    alone = given(args, OF_SCANS)
    if alone and not _may_hold_scans(args):
        raise UsageError(_superfluous(alone, "scans"))


def _superfluous(flags: list[str], without: str) -> str:
    """Return the line about flags that say nothing without something."""
    says, them = ("says", "it") if len(flags) == 1 else ("say", "them")
    leave = " ".join(f"--no-{flag[2:]}" for flag in flags)
    return f"{', '.join(flags)} {says} nothing without {without}; leave {them} out (what --config says, by {leave})"


def _may_hold_scans(args: argparse.Namespace) -> bool:
    from kdlight_edge.dicom.magic import is_dicom_folder
    from kdlight_edge.sources import kind_of

    if args.folder is not None:
        return is_dicom_folder(args.folder)
    uris = args.camera or [args.source]
    return any(kind_of(uri) in {"dicom", "dicom-listener"} for uri in uris)
