"""``kdlight-edge doctor``: what this machine is, what works on it, what is missing and the command that adds it."""

import argparse
import json
from pathlib import Path
from typing import Any

Report = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Examine the machine; 1 when something that ``infer`` needs is missing or broken."""
    from kdlight_edge.checkup import examine

    report = examine(Path("/"))
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(_lines(report)))
    return 0 if report["ready"] else 1


def _lines(report: Report) -> list[str]:
    machine, board = report["machine"], report["board"]
    memory = machine["memory_bytes"]
    lines = [
        f"kdlight-edge {report['version']} on {machine['os'] or 'an unknown system'}, kernel {machine['kernel']}",
        f"  machine  {machine['model'] or machine['cpu'] or machine['machine']}, {machine['cores']} usable cores, "
        + (f"{memory / 2**30:.1f} GiB" if memory else "unknown memory"),
        f"  python   {machine['python']}",
        f"  disk     {report['disk']['free_bytes'] / 1e9:.1f} GB free at {report['disk']['path']}",
        f"  board    {board['name']}: {board['text']}",
        *_budget(board["budget"]),
        f"  state    {_state(report['telemetry'])}",
        "packages",
        *(_package(entry) for entry in report["packages"]),
        "engines",
        *(f"  {_mark(entry['runs'])} {entry['name']:<12} {entry['reason']}".rstrip() for entry in report["engines"]),
        "cameras",
        *(_camera(entry) for entry in report["cameras"]),
    ]
    if not report["cameras"]:
        lines.append("  none at /dev/video*; a network camera or --camera scene:crack needs no device")
    if report["problems"]:
        lines.append("to do")
        lines += [f"  {problem['what']}\n      {problem['mend']}" for problem in report["problems"]]
    lines.append("ready: kdlight-edge infer works here" if report["ready"] else "not ready: see 'to do'")
    return lines


def _budget(budget: dict[str, Any] | None) -> list[str]:
    if budget is None:
        return ["           no budget: nothing to derive one from"]
    times = f"{budget['p50_ms_128']:g} ms at 128 px, {budget['p50_ms_224']:g} ms at 224 px"
    sizes = f"{budget['bundle_bytes'] / 1e6:g} MB of files, {budget['rss_bytes'] / 1e6:g} MB of memory"
    return [f"           budget {times}, {sizes}", f"           ({budget['source']})"]


def _state(seen: dict[str, Any]) -> str:
    throttling = seen["throttling"]
    parts = [
        f"{seen['celsius']:.0f} °C" if seen["celsius"] is not None else "",
        f"{seen['watts']:.1f} W" if seen["watts"] is not None else "",
        f"governor {seen['governor']}" if seen["governor"] else "",
        {True: f"throttled: {', '.join(throttling['reasons'])}", False: "not throttled"}.get(throttling["now"], ""),
        f"since it was started: {', '.join(throttling['since_boot'])}" if throttling["since_boot"] else "",
        f"{seen['memory_available_bytes'] / 2**20:,.0f} MiB of memory free" if seen["memory_available_bytes"] else "",
    ]
    return ", ".join(part for part in parts if part) or "the machine does not tell"


def _package(entry: dict[str, Any]) -> str:
    state = entry["version"] or ("there, version unknown" if entry["installed"] else "missing")
    mend = f": {entry['mend']}" if entry["mend"] else ""
    return f"  {_mark(entry['works'])} {entry['name']:<12} {state:<12} for {entry['for']}{mend}"


def _camera(entry: dict[str, Any]) -> str:
    parts = (entry["path"], entry["name"], *entry["links"][:1], entry["reason"])
    return f"  {_mark(entry['opens'])} " + "  ".join(part for part in parts if part)


def _mark(good: bool) -> str:  # noqa: FBT001 - it draws the one thing it takes
    return "+" if good else "-"
