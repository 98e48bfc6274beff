"""``kdlight-edge update``: bring a device a new bundle, tell how that went, undo it; and offer bundles to devices."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlight_edge.commands.named import named_board
from kdlight_edge.errors import BundleError, KDLightError, UsageError

if TYPE_CHECKING:
    from kdlight_edge.update.apply import Order
    from kdlight_edge.update.state import State

STATE = "/var/lib/kdlight-edge"
KEYS = "/etc/kdlight-edge/keys"
ROOT = "/etc/kdlight-edge/root.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = (
        "Exit code: 0 done or nothing newer, 1 failed, 2 usage, 3 budget missed, 4 parity failed, 5 refused, "
        "6 source unavailable; after any but 0 nothing has changed, but for --wait: 1 may say that the version is in "
        "its place and not proved yet, 5 that it was rolled back."
    )
    parser.add_argument(
        "--from", dest="location", metavar="URL", help="a repository (https://..., DIR) or a signed FILE"
    )
    parser.add_argument("--root", metavar="FILE", help=f"root of the repository (default: {ROOT} where it is there)")
    parser.add_argument(
        "--keys", default=KEYS, metavar="DIR", help=f"public keys that FILE is held to (default {KEYS})"
    )
    parser.add_argument("--bundle", metavar="NAME", help="name of the bundle (default: of the one that serves)")
    parser.add_argument("--board", metavar="NAME", help="whose budget holds (default: this board's)")
    parser.add_argument("--shadow", type=int, default=0, metavar="N", help="first compare N frames beside the service")
    parser.add_argument(
        "--agreement", type=float, default=0.98, metavar="P", help="least share of equal decisions there (default 0.98)"
    )
    parser.add_argument(
        "--probation", type=float, default=300.0, metavar="S", help="seconds of work that prove it (default 300)"
    )
    parser.add_argument("--allow-downgrade", action="store_true", help="take a version that is not newer")
    parser.add_argument("--again", action="store_true", help="take a version that was rolled back here before")
    parser.add_argument("--clock-is-right", action="store_true", help="believe a clock that was ahead before")
    parser.add_argument("--wait", action="store_true", help="come back when it has proved itself, or was rolled back")
    _state(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    status = actions.add_parser("status", help="tell which version serves, and what happened last")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    rollback = actions.add_parser("rollback", help="let the good version before this one serve")
    for action in (status, rollback):
        _state(action)
    _add_publishing(actions)


def _add_publishing(actions: Any) -> None:
    init = actions.add_parser("init-repo", help="publisher: make a repository and its keys")
    publish = actions.add_parser("publish", help="publisher: offer bundles in it")
    publish.add_argument("models", nargs="+", metavar="NAME.kdl", help="the bundles")
    withdraw = actions.add_parser("withdraw", help="publisher: offer a version no more")
    withdraw.add_argument("version", metavar="NAME-VERSION-DIGEST", help="as publish told it")
    refresh = actions.add_parser("refresh", help="publisher: say anew that the offer is fresh, before it expires")
    rotate = actions.add_parser("rotate", help="publisher: give a role a new key")
    rotate.add_argument("role", choices=("root", "targets", "snapshot", "timestamp"), help="whose")
    for action in (init, publish, withdraw, refresh, rotate):
        action.add_argument(
            "--repo", required=True, metavar="DIR", help="folder that a static server or a stick serves"
        )
        action.add_argument(
            "--repo-keys", required=True, metavar="DIR", help="folder of the private keys; keep it apart"
        )
        action.add_argument(
            "--days", type=float, default=30.0, metavar="N", help="devices believe the offer so long (default 30)"
        )


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", default=STATE, metavar="DIR", help=f"of the device's versions (default {STATE})")


def run(args: argparse.Namespace) -> int:
    """Update, or do what the action says."""
    from kdlight_edge.update.state import State

    if args.action in {"init-repo", "publish", "withdraw", "refresh", "rotate"}:
        _publishing(args)
        return 0
    if args.action == "status":
        return _status(State(Path(args.state)), as_json=args.json)
    from kdlight_edge.update.apply import apply, as_owner, roll_back

    state = State(Path(args.state))
    if args.action == "rollback":
        state = as_owner(state)
        roll_back(state, _tell)
        return 0
    order = _order(args)
    state = as_owner(state)
    version = apply(state, order, _tell)
    if version is not None and args.wait:
        _wait(state, version, order.probation)
    return 0


def _order(args: argparse.Namespace) -> "Order":
    from kdlight_edge.update.apply import Order

    if args.location is None:
        raise UsageError("--from is missing; give a repository (https://... or a folder) or a signed file")
    if args.shadow < 0 or not 0 <= args.agreement <= 1:
        raise UsageError(f"--shadow {args.shadow} with --agreement {args.agreement:g} cannot be; give N from 0, P to 1")
    if not 0 < args.probation <= 86_400:  # noqa: PLR2004 - a day
        raise UsageError(f"--probation {args.probation:g} is not between 0 and 86400 seconds")
    root = Path(args.root) if args.root else Path(ROOT) if Path(ROOT).exists() else None
    location = args.location if "://" in args.location else str(Path(args.location).absolute())
    keys, root = Path(args.keys).absolute(), None if root is None else root.absolute()
    board = None if args.board is None else named_board(args.board)
    return Order(
        location, keys, root, args.bundle, board,
        args.shadow, args.agreement, args.probation, args.allow_downgrade, args.again, args.clock_is_right,
    )  # fmt: skip


def _wait(state: "State", version: str, probation: float) -> None:
    """Come back when the service has proved a version.

    Raises:
        BundleError: it was rolled back.
        KDLightError: no service proved it in time.
    """
    until = time.monotonic() + 2 * probation + 60
    while time.monotonic() < until:
        book = state.ledger()
        if version in book.failed:
            raise BundleError(f"{version} was rolled back: {book.last.reason if book.last else 'no reason was kept'}")
        if version in book.good:
            return
        time.sleep(0.2)
    raise KDLightError(
        f"{version} is in its place and has not proved itself; does the service run? kdlight-edge service status tells"
    )


def _status(state: "State", *, as_json: bool) -> int:
    try:
        if state.folder.is_dir():
            state.folder.joinpath("update").stat()
    except PermissionError as error:
        raise KDLightError(f"{state.folder} may not be read by this user; run it as root") from error
    except FileNotFoundError:
        pass
    record = status_of(state)
    if as_json:
        print(json.dumps(record, indent=1))
        return 0
    print(
        f"serves: {record['serves'] or record['factory'] or 'nothing yet'}{'' if record['alive'] else ' (not running)'}"
    )
    held = record["probation"]
    if held is not None:
        print(f"on probation: {held['version']}, {held['seconds']:.0f} s of work prove it, {held['starts']} starts")
    for key in ("good", "failed"):
        if record[key]:
            print(f"{key}: {', '.join(record[key])}")
    last = record["last"]
    if last is not None:
        print(f"last: {last['at']} {last['what']} {last['version']}{': ' * bool(last['reason'])}{last['reason']}")
    return 0


def status_of(state: "State") -> dict[str, Any]:
    """Return what `update status --json` tells: plain JSON types."""
    from kdlight_edge.update.state import SCHEMA_STATUS

    running = state.running() or {}
    book = dataclasses.asdict(state.ledger())
    return {
        "schema": SCHEMA_STATUS,
        "state": str(state.folder),
        "serves": state.current(),
        "running": running.get("version"),
        "factory": running.get("factory"),
        "alive": bool(running.get("alive")),
        **{key: book[key] for key in ("probation", "good", "failed", "last")},
    }


def _publishing(args: argparse.Namespace) -> None:
    from kdlight_edge.update.publish import Publisher

    publisher = Publisher(Path(args.repo), Path(args.repo_keys), args.days)
    if args.action == "init-repo":
        root = publisher.create()
        _tell(f"{root} goes to every device, by hand; the keys in {args.repo_keys} go to no device")
    elif args.action == "publish":
        for model in args.models:
            print(publisher.add(Path(model)))
    elif args.action == "withdraw":
        publisher.withdraw(args.version)
    elif args.action == "refresh":
        until, ending = publisher.refresh(), publisher.ending()
        _tell(f"devices believe the offer until {min([until, *ending.values()])}")
        for role, end in ending.items():
            _tell(
                f"the word of {role} ends on {end} and was not renewed: {args.repo_keys} has no {role}.key; "
                "refresh where it is, or every device refuses the offer from then on"
            )
    else:
        root = publisher.rotate(args.role)
        _tell(f"{root} names the new key; devices follow by themselves; destroy {args.role}.key.old")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
