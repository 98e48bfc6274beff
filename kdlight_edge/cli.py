"""The front door: finds the verb, and turns every error into one line and an exit code."""

import argparse
import contextlib
import importlib
import io
import os
import sys
import threading
from collections.abc import Sequence

from kdlight_edge import __version__
from kdlight_edge.config import Configurable
from kdlight_edge.errors import KDLightError, UsageError, missing_package
from kdlight_edge.strict import shown

COMMANDS = {
    "train": ("kdlight_train.command", "distil a student from a folder of pictures"),
    "pretrain": ("kdlight_train.pretrain_command", "give a student a start from pictures without labels"),
    "data": ("kdlight_train.data_command", "check a folder of pictures before training"),
    "export": ("kdlight_export.command", "compile a student to a bundle, proved equal"),
    "infer": ("kdlight_edge.commands.infer", "classify a camera, a folder or a stream"),
    "eval": ("kdlight_edge.commands.eval", "measure a bundle's accuracy on labelled pictures"),
    "bench": ("kdlight_edge.commands.bench", "measure a bundle's speed, memory and size"),
    "verify": ("kdlight_edge.commands.verify", "replay a bundle's golden pictures on each engine here"),
    "bundle": ("kdlight_edge.commands.bundle", "pack a bundle into one signed file"),
    "update": (
        "kdlight_edge.commands.update",
        "bring a device a new bundle, and undo what fails",
    ),
    "inspect": ("kdlight_edge.commands.inspect", "tell what each engine really executes of a bundle"),
    "service": ("kdlight_edge.commands.service", "run a camera and a bundle as a systemd service"),
    "fleet": ("kdlight_edge.commands.fleet", "tell how the boards behind an MQTT broker are"),
    "audit": ("kdlight_edge.commands.audit", "tell whether an audit is as it was written"),
    "selftest": ("kdlight_edge.commands.selftest", "check every part on this board, and inject faults into real runs"),
    "doctor": ("kdlight_edge.commands.doctor", "tell what works on this machine and what is missing"),
    "demo": ("kdlight_edge.commands.demo", "run the main job on generated surfaces"),
}
"""Verb to its module and one line of help. The module gives ``add_arguments(parser)`` and ``run(args) -> int``."""

ALIASES = {"predict": "infer", "val": "eval", "benchmark": "bench"}
"""Verbs of the best-known peer that mean the same."""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the module of ``verb`` is imported, so that help is fast."""
    parser = argparse.ArgumentParser(
        prog="kdlight-edge",
        description="Distil a tiny image classifier from a MobileNet teacher and run it on a small board.",
        epilog="kdlight-edge VERB --help tells about one verb. "
        f"{', '.join(ALIASES)} mean {', '.join(ALIASES.values())}. KDLIGHT_DEBUG=1 shows where an error came from.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kdlight-edge {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Configurable)
    for name, (module, line) in COMMANDS.items():
        child = verbs.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.", allow_abbrev=False)
        if name == verb:
            importlib.import_module(module).add_arguments(child)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see `kdlight_edge.errors`; 130 after Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb in ALIASES:
        arguments[arguments.index(verb)] = verb = ALIASES[verb]
    debug = os.environ.get("KDLIGHT_DEBUG") == "1"
    _open_streams()
    try:
        parser = build_parser(verb)
        args = parser.parse_args(arguments)
        code: int = importlib.import_module(COMMANDS[args.verb][0]).run(args)
        sys.stdout.flush()
    except KDLightError as error:
        return _report(error, debug=debug)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None or debug:
            raise
        return _report(missing, debug=debug)
    except BrokenPipeError:
        # The reader of our lines (head, less) went away: not an error, and nothing more can be written.
        _let_go_of_stdout()
        return 0
    except OSError as error:
        # What no part of the program could foresee: a full disk, a file that may not be written.
        if debug:
            raise
        place = f": {error.filename}" if error.filename else ""
        return _report(KDLightError(f"{error.strerror or error}{place}"), debug=False)
    except KeyboardInterrupt:
        return 130
    return code


def program() -> int:
    """Be the program: `main`, and an end that no camera's driver can hold up or turn into an abort.

    A reader of a camera that hangs, or decodes for seconds, is left behind. Python would end its thread in the middle
    of C++ once that comes back, which aborts the process after all was well.
    """
    code = main()
    if any(thread.name.startswith("capture ") for thread in threading.enumerate()):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def _open_streams() -> None:
    """Let a standard stream that was closed (``>&-``) lead nowhere.

    Python has None in its place, and the next file opened, a bundle or an audit, would get its number and what is
    written to it.
    """
    for name in ("stdin", "stdout", "stderr"):  # by their numbers: each open takes the lowest that is free
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # noqa: FBT003 - takes no keyword
            stream = os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8", errors="backslashreplace")
            setattr(sys, name, stream)
    # A name or a label that the terminal's encoding has not is written with escapes, as on stderr; it ended the run.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Write what stdout still holds, or give it up, so that Python does not complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: KDLightError, *, debug: bool) -> int:
    if debug:
        raise error
    _let_go_of_stdout()
    hint = "; --help shows the flags" if isinstance(error, UsageError) and "--help" not in str(error) else ""
    line = shown(" ".join(f"{error}{hint}".splitlines()))  # a file's name may hold a line break
    print(f"kdlight-edge: {line}", file=sys.stderr)  # noqa: T201 - the one place where errors are printed
    return error.exit_code


if __name__ == "__main__":
    raise SystemExit(program())
