#!/usr/bin/env python3
"""Measure a bundle on a board that stands elsewhere, over ssh, and judge it: JSON, Markdown and an HTML report.

usage: scripts/bench_on_board.py --host pi@board --model NAME.kdl [--scenario all] [--soak 30m]

Exit code: 0 measured and within the budget, 1 failed or cut off (what is missing is told), 2 usage, 3 budget missed.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from desk.page import headline, markdown
from desk.reference import read_references, write_rows
from desk.report import html
from desk.session import Request, measure
from desk.ssh import Host
from desk.verdict import budget_rows, compared, read_budget, reference_rows

from kdlight_edge.errors import BudgetExceeded, KDLightError, UsageError
from kdlight_edge.hil.trial import NAMES

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "kdlight-edge/bench-on-board/1"


def parser() -> argparse.ArgumentParser:
    """Describe the flags."""
    flags = argparse.ArgumentParser(prog="scripts/bench_on_board.py", description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--host", required=True, metavar="USER@BOARD", help="as for ssh; names of ~/.ssh/config too")
    flags.add_argument("--model", required=True, type=Path, metavar="NAME.kdl", help="the bundle")
    flags.add_argument(
        "--scenario", default="all", metavar="a,b,...",
        help="of a model only, b bytes to result, c camera with faults, d offline folder, e soak (default: all)",
    )  # fmt: skip
    flags.add_argument("--soak", default="30m", metavar="TIME", help="length of e: 90s, 30m, 24h (default 30m)")
    flags.add_argument("--seconds", type=float, default=60.0, metavar="S", help="length of a to d (default 60)")
    flags.add_argument("--quick", action="store_true", help="64 samples of a, b and d: no p99, and less certain")
    flags.add_argument("--engine", default="auto", metavar="NAME", help="engine to measure (default: auto)")
    flags.add_argument("--threads", type=int, default=1, metavar="N", help="threads inside one run (default 1)")
    flags.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="DIR", help="labelled pictures to judge there"
    )
    flags.add_argument(
        "--clocks", choices=("both", "deployed"), default="both", help="also with locked clocks (default)"
    )
    flags.add_argument("--budget", type=Path, metavar="FILE.json", help="in place of the board's own")
    flags.add_argument("--ambient", default="", metavar="TEXT", help="room and cooling, for the page: '23 °C, fan'")
    flags.add_argument("--wheel", type=Path, metavar="FILE.whl", help="the program (default: built from this clone)")
    flags.add_argument("--wheels", type=Path, metavar="DIR", help="its dependencies, for a board without a network")
    flags.add_argument("--use", metavar="COMMAND", help="an installed kdlight-edge there, in place of an environment")
    flags.add_argument("--out", type=Path, metavar="DIR", help="where everything goes (default runs/bench-HOST-NAME)")
    flags.add_argument("--reference", type=Path, default=ROOT / "devices/reference", metavar="DIR", help="known boards")
    flags.add_argument("--resume", action="store_true", help="go on after a cut link or a reboot")
    flags.add_argument("--keep", action="store_true", help="leave the folder on the board")
    flags.add_argument("--patience", type=float, default=120.0, metavar="S", help="wait for a cut link (default 120)")
    flags.add_argument("-F", dest="config", metavar="FILE", help="as for ssh: its configuration")
    flags.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="as for ssh")
    return flags


def main() -> int:
    """Measure, write and judge."""
    args = parser().parse_args()
    try:
        return bench(args)
    except KDLightError as error:
        print(f"bench_on_board: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print(f"bench_on_board: stopped {error}".rstrip(), file=sys.stderr)
        return 130


def bench(args: argparse.Namespace) -> int:
    """Do it; see `main`."""
    request_of = read_request(args)
    budget = None if args.budget is None else read_budget(args.budget)
    try:
        references = read_references(args.reference)
    except ValueError as error:
        raise UsageError(f"--reference: {error}") from error
    with tempfile.TemporaryDirectory(prefix="kdlight-wheel-") as folder:
        wheel = args.wheel or (None if args.use else build(Path(folder)))
        found = measure(request_of(wheel), say)
    trials = found["trials"]
    record = {
        "schema": SCHEMA,
        "command": shlex.join(["scripts/bench_on_board.py", *sys.argv[1:]]),
        **found,
        "ambient": args.ambient,
        "budget": budget_rows(trials, budget),
        "reference": compared(trials, references),
    }
    out = write(record, folder_of(args))
    tell(record, out)
    missed = [row["what"] for row in (record["budget"] or {"rows": []})["rows"] if not row["met"]]
    if ours := [path for path in record["left"] if "kdlight-bench-" in path]:
        raise KDLightError(f"left on {args.host}: {', '.join(ours)}; take it away by hand")
    if missed:
        raise BudgetExceeded(
            f"{trials[0]['bundle']['name']} misses the budget: {', '.join(missed)}; see {out}/bench.md"
        )
    return 0


def read_request(args: argparse.Namespace) -> Any:
    """Check the flags and return a function of the wheel to the request."""
    letters = list(NAMES) if args.scenario == "all" else list(dict.fromkeys(args.scenario.lower().split(",")))
    if strange := [letter for letter in letters if letter not in NAMES]:
        raise UsageError(f"--scenario {','.join(strange)} is none of {', '.join(NAMES)}")
    if not 0 < args.seconds <= 86_400:  # noqa: PLR2004 - a day
        raise UsageError(f"--seconds {args.seconds:g} is not between 0 and 86400")
    for flag, path in (("--wheel", args.wheel), ("--wheels", args.wheels), *(("--data", one) for one in args.data)):
        if path is not None and not path.exists():
            raise UsageError(f"{flag} {path} is not there")
    host = Host(args.host, args.config, args.options)

    def request(wheel: Path | None) -> Request:
        return Request(
            host, args.model, wheel, folder_of(args), letters, args.seconds, seconds_of(args.soak), args.engine,
            args.threads, quick=args.quick, wheels=args.wheels, use=args.use, data=args.data,
            both_clocks=args.clocks == "both", keep=args.keep, resume=args.resume, patience=args.patience,
        )  # fmt: skip

    seconds_of(args.soak)
    return request


def folder_of(args: argparse.Namespace) -> Path:
    """Return where everything goes."""
    given: Path | None = args.out
    name = re.sub(r"[^\w.-]+", "-", f"{args.host}-{args.model.stem}")
    return given or ROOT / "runs" / f"bench-{name}"


def seconds_of(text: str) -> float:
    """Read ``90s``, ``30m`` or ``24h``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or not float(found[1]):
        raise UsageError(f"--soak {text} is no time; write it like 90s, 30m or 24h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def build(folder: Path) -> Path:
    """Build this clone's wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KDLightError(f"the wheel cannot be built: {done.stderr.strip().splitlines()[-1]}; name one with --wheel")
    return next(folder.glob("*.whl"))


def write(record: dict[str, Any], out: Path) -> Path:
    """Write the record and its pages."""
    (out / "bench.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "bench.md").write_text(markdown(record), encoding="utf-8")
    (out / "bench.html").write_text(html(record), encoding="utf-8")
    write_rows(out / "reference.csv", reference_rows(record["trials"], record["command"]), headline(record))
    return out


def tell(record: dict[str, Any], out: Path) -> None:
    """Print what it comes to."""
    for verdict in ("worse", "better"):
        found = [f"{one['figure']} x{one['ratio']:.2f}" for one in record["reference"] if one["verdict"] == verdict]
        if found:
            print(f"{verdict} than the reference: {', '.join(found)}")
    for change in record["changed"]:
        print(f"changed while it was measured: {change}")
    print(f"{out}/bench.html, bench.md, bench.json")


def say(line: str) -> None:
    """Tell what happens, on stderr."""
    print(f"bench_on_board: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
