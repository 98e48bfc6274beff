"""``kdlight-edge audit``: tell whether the lines that ``infer --audit`` wrote are as they were written."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.errors import KDLightError

if TYPE_CHECKING:
    from kdlight_edge.chain import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb below this verb, and its flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    line = "follow the chain of an audit to its end"
    verify = actions.add_parser(
        "verify", help=line, description=f"{line[0].upper()}{line[1:]}.", allow_abbrev=False,
        epilog="Exit code: 0 the chain is whole (a last line torn by a kill is told), 1 it is broken or unreadable.",
    )  # fmt: skip
    verify.add_argument("file", metavar="FILE", help="what --audit wrote; full files beside it are read first")
    verify.add_argument("--key", metavar="FILE", help="the key it was sealed with")
    verify.add_argument("--head", metavar="HASH", help="a hash noted earlier: its line must still be there")
    verify.add_argument("--partial", action="store_true", help="older files were moved away: begin where these begin")
    verify.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Verify.

    Raises:
        KDLightError: the chain is broken, or lacks the line that was asked for.
    """
    from kdlight_edge.chain import read_key, verify

    key = read_key(args.key) if args.key else b""
    found = verify(Path(args.file), key, args.head or "", partial=args.partial)
    fault = found.fault
    if not fault and not found.has_head:
        fault = f"{args.file}: no line has the hash {args.head}: lines were removed at the end, or all was written anew"
    if args.json:
        print(json.dumps(_record(found, fault)))
    elif found.lines:  # of none there is nothing to say but what is wrong
        print(_told(found))
    if found.torn:
        text = (
            f"the last line has no end ({found.torn} bytes): what a kill or a power cut leaves; its result is missing"
        )
        print(f"kdlight-edge: {text}", file=sys.stderr)
    if fault:
        raise KDLightError(fault)
    return 0


def _record(found: "Verdict", fault: str) -> dict[str, object]:
    return {
        "whole": not fault, "fault": fault, "lines": found.lines, "first": found.first, "last": found.last.number,
        "head": found.last.hash, "torn_bytes": found.torn, "closed": found.closed,
        "lost": found.lost,
    }  # fmt: skip


def _told(found: "Verdict") -> str:
    reach = f"{found.lines:,} lines follow each other, number {found.first:,} to {found.last.number:,}"
    if found.first > 1:
        reach += " (older ones are not here)"
    if found.lost:
        reach += f", {found.lost:,} results are noted as missing (the disk was full or too slow)"
    if found.fault:
        reach += ", then the chain breaks"
    else:
        reach += ", the run was ended" if found.closed else ", the run goes on or was killed"
    return f"{reach}; head {found.last.hash}"
