"""``kdlight-edge fleet``: the boards behind a broker in one table, and a question to one of them."""

import argparse
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from kdlight_edge.errors import KDLightError, UsageError

if TYPE_CHECKING:
    from kdlight_edge.sinks.broker import Broker

REDRAW = 2.0
"""Seconds between two tables of --watch."""

DAY = 86_400.0
"""Seconds that are waited for a broker or an answer at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.epilog = "Exit code: 0 all boards online, 1 some not or the answer is no, 2 usage, 6 no broker or no answer."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="print a table of all boards")
    status.add_argument("--json", action="store_true", help="one JSON object a board, a line each")
    status.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    ask = actions.add_parser("ask", help="ask one board for something, and print its answer as JSON")
    ask.add_argument("device", metavar="NAME", help="as in the table")
    ask.add_argument("what", choices=("ping", "identify", "update"), help="update needs --mqtt-update on the board")
    for action in (status, ask):
        action.add_argument(
            "--broker", required=True, metavar="HOST[:PORT]", help="or mqtt[s]://[USER@]HOST[:PORT][/PREFIX]"
        )
        action.add_argument("--wait", type=float, default=10.0, metavar="S", help="for the broker (default 10)")


def run(args: argparse.Namespace) -> int:
    """Do one of the two; see `add_arguments` for the exit code."""
    from kdlight_edge.sinks.broker import broker_of, check_device

    if not 0 < args.wait <= DAY:
        raise UsageError(f"--wait {args.wait:g} is not between 0 and {DAY:g} seconds")
    url = args.broker if "://" in args.broker else f"mqtt://{args.broker}"
    broker = broker_of(url, "--broker")
    if args.action == "ask":
        return _ask(broker, check_device(args.device), args.what, args.wait)
    return _status(broker, args)


def _status(broker: "Broker", args: argparse.Namespace) -> int:
    from kdlight_edge.fleet import Fleet, table

    fleet = Fleet(broker)
    fleet.listen(args.wait)
    try:
        while True:
            rows = fleet.rows()
            if args.json:
                print(*(f"{json.dumps(entry)}\n" for entry in rows), sep="", end="", flush=True)
            elif rows:
                clear = "\x1b[H\x1b[J" if args.watch and sys.stdout.isatty() else ""
                print(f"{clear}{table(rows)}", flush=True)
            states = Counter(entry["state"] for entry in rows)
            said = ", ".join(f"{count:,} {state}" for state, count in states.most_common()) or "no board has spoken"
            odd = f"; {fleet.unreadable:,} messages of another kind" if fleet.unreadable else ""
            lost = fleet.lost_s()
            old = "" if lost is None else f"; that broker is lost, and this is as it was {lost:.0f} s ago; trying again"
            print(f"{said} under {broker.prefix}/ of {broker}{odd}{old}", file=sys.stderr)
            if not args.watch:
                return 0 if rows and set(states) == {"online"} else 1
            time.sleep(REDRAW)
    finally:
        fleet.close()


def _ask(broker: "Broker", device: str, what: str, wait: float) -> int:
    from kdlight_edge.sinks.question import ask

    answer = ask(broker, device, what, wait)
    print(json.dumps(answer))
    if answer.get("state") == "refused":
        raise KDLightError(f"{device} refuses: {answer.get('reason')}")
    return 0 if answer.get("state") in {"done", "begun"} else 1
