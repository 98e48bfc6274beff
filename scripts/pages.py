#!/usr/bin/env python3
"""Fill the generated parts of README.md and docs/: help texts and figures; with --check only tell what is out of date.

A generated part stands between ``<!-- begin KIND ARGUMENT -->`` and ``<!-- end -->``. Kinds: ``help VERB``, the text of
``kdlight-edge VERB --help``, and those of `TABLES` below, from docs/results/.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accuracy_tables import (
    ablation_table,
    all_table,
    gain_table,
    heading,
    leaks_table,
    measured,
    medmnist_table,
    models_table,
    outliers_table,
    quantisers_table,
    sets_table,
    sizes_table,
    training_table,
)

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- begin (\w+) ?([\w ]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
RESULTS = ROOT / "docs" / "results"


def main() -> int:
    """Write or check every page; 1 when --check found a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        old = page.read_text(encoding="utf-8")
        new = filled(old, up="" if page.parent == ROOT else "../")
        if new != old:
            stale.append(page.relative_to(ROOT))
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        print(f"{page} is out of date: run scripts/pages.py" if check else f"wrote {page}", file=sys.stderr)
    return 1 if check and stale else 0


def filled(text: str, up: str) -> str:
    """Return a page's text with its generated parts; `up` leads from it to the root, where tables link from."""

    def part(found: re.Match[str]) -> str:
        told = generate(found[2], found[3]).replace("](models/", f"]({up}models/")
        return f"{found[1]}{told}\n{found[4]}"

    return PART.sub(part, text)


def generate(kind: str, argument: str) -> str:
    """Return the text of one generated part."""
    if kind == "help":
        return help_text(argument)
    if kind not in TABLES:
        raise SystemExit(f"unknown generated part: {kind}")
    name, table = TABLES[kind]
    return table(json.loads((RESULTS / f"{argument or name}.json").read_text(encoding="utf-8")))


def help_text(verb: str) -> str:
    """Return a verb's help as a code block, 100 characters wide."""
    command = [sys.executable, "-m", "kdlight_edge.cli", *verb.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "100"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return f"```text\n$ kdlight-edge {verb + ' ' if verb else ''}--help\n{text.rstrip()}\n```"


def ratios_table(results: dict[str, Any]) -> str:
    """Return the comparison with the peer, same run, same machine."""
    rows = ["| | kdlight-edge | " + results["peer"] + " | ratio |", "|---|---|---|---|"]
    rows += [f"| {row['what']} | {row['ours']} | {row['peer']} | **{row['ratio']}** |" for row in results["rows"]]
    return "\n".join([*rows, "", measured(results)])


def goals_table(results: dict[str, Any]) -> str:
    """Return what a comparison of networks was to reach, and did."""
    return "\n".join([*goal_rows(results), "", measured(results)])


def goal_rows(results: dict[str, Any]) -> list[str]:
    """Return a table of goals, a line each."""
    return [
        "| beside | measured | goal | |",
        "|---" * 4 + "|",
        *(f"| {row['what']} | {row['measured']} | {row['goal']} | **{row['verdict']}** |" for row in results["goals"]),
    ]


def peers_table(results: dict[str, Any]) -> str:
    """Return the goals, and every network's times in each engine and precision beside the bundle's best."""
    rows = goal_rows(results)
    forms = ["onnxruntime fp32", "openvino fp32", "onnxruntime int8", "openvino int8"]
    for title in ("one_thread", "two_threads"):
        rows += ["", *heading([f"{title.replace('_', ' ')}, ms", "parameters", *forms, "its best beside ours"])]
        ours = min(time["p50"] for time in results[title][results["student"]].values())
        for name, times in results[title].items():
            # Two INT8 files of one network stand for it by the faster.
            found = [min((t for key, t in times.items() if form in key), key=lambda t: t["p50"]) for form in forms]
            told = [f"{one['p50']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in found]
            ratio = min(time["p50"] for time in times.values()) / ours
            size = f"{results['parameters'][name] / 1e6:.2f} M"
            rows.append(f"| {name} px | {size} | {' | '.join(told)} | {ratio:.1f} |")
    return "\n".join([*rows, "", measured(results)])


def footprint_table(results: dict[str, Any]) -> str:
    """Return what the runtime weighs."""
    rows = ["| | measured | goal |", "|---|---|---|"]
    rows += [f"| {row['what']} | {row['value']} | {row['goal']} |" for row in results["rows"]]
    return "\n".join([*rows, "", measured(results)])


def processor_table(results: dict[str, Any]) -> str:
    """Return what a bundle's preferred file answers on a processor of another kind, and how fast it is beside fp32."""
    rows = heading(["bundle", "n", "recorded", "preferred here", "here", "as fp32 here", "ms", "fp32 ms", "faster"])
    for row in results["rows"]:
        told = row["recorded"]
        own, plain = (
            next(one for one in row["files"] if (one["engine"], one["precision"]) == (engine, precision))
            for engine, precision in ((told["engine"], told["precision"]), ("onnxruntime", "fp32"))
        )
        rows.append(
            f"| `{row['name']}` | {row['n']:,} | {told['accuracy']:.2%} | {own['engine']} {own['precision']} "
            f"| {own['accuracy']:.2%} | {own['as_fp32']:.1%} | {own['p50_ms']:.2f} | {plain['p50_ms']:.2f} "
            f"| {plain['p50_ms'] / own['p50_ms']:.1f} times |"
        )
    return "\n".join([*rows, "", f"{measured(results)} {results['processor']}."])


def fleet_table(results: dict[str, Any]) -> str:
    """Return what a fleet costs its broker and its table, by its size."""
    titles = ["boards", "messages/s", "acknowledged/s", "broker, of one core", "broker's memory", "table from nothing"]
    rows = heading([*titles, "drawn again"])
    rows += [
        f"| {row['boards']:,} | {row['messages_per_second']:,.0f} | {row['acknowledged_per_second']:,.0f} "
        f"| {row['broker_cpu_share']:.1%} | {row['broker_rss_bytes'] / 1e6:.1f} MB | {row['first_s']:.2f} s "
        f"| {row['redraw_ms']:.1f} ms |"
        for row in results["rows"]
    ]
    return "\n".join([*rows, "", measured(results)])


def writes_table(results: dict[str, Any]) -> str:
    """Return what a service writes to its disk."""
    rows = heading(["configuration", "by the start", "an hour", "for each result"])
    rows += [
        f"| {row['what']} | {row['start_bytes'] / 1000:,.0f} kB | {row['bytes_per_hour'] / 1e6:,.1f} MB "
        f"| {row['bytes_per_hour'] / 3600 / row['fps']:,.0f} B |"
        for row in results["rows"]
    ]
    return "\n".join([*rows, "", measured(results)])


def steps_list(results: dict[str, Any]) -> str:
    """Return the log of a lab."""
    rows = ["| step | seconds |", "|---|---|"]
    rows += [f"| {one['step']} | {'' if one['seconds'] is None else one['seconds']} |" for one in results["steps"]]
    rows += [f"| {results['equal']} | |"] if "equal" in results else []
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join([*rows, "", measured(results), f"Versions: {versions}."])


def console_text(results: dict[str, Any]) -> str:
    """Return what a person saw at a lab's console."""
    return f"```console\n{results['console']}\n```\n\n{measured(results)}"


def soak_table(results: dict[str, Any]) -> str:
    """Return what a long run held, and how old its results were."""
    growth, goal = results["rss_growth_mb_per_200k"], results["goal_mb_per_200k"]
    table = [
        ("frames answered", f"{results['frames']:,} in {results['seconds']:.0f} s", ""),
        ("growth of resident memory over 200,000 frames", f"{growth:+.2f} MB", f"under {goal:g} MB"),
        ("resident memory, first and last window", f"{results['rss_mb_first']} MB, {results['rss_mb_last']} MB", ""),
        ("threads", ", ".join(map(str, results["threads"])), ""),
        ("open descriptors", ", ".join(map(str, results["descriptors"])), ""),
        ("age of a result, median", f"{results['age_ms_p50']:.1f} ms", ""),
        ("age, p99 of the median window", f"{results['age_ms_p99_median_window']:.1f} ms", ""),
        ("age, p99 of the worst window", f"{results['age_ms_p99_worst_window']:.1f} ms", ""),
    ]
    return footprint_table({**results, "rows": [{"what": a, "value": b, "goal": c} for a, b, c in table]})


def fault_run_table(results: dict[str, Any]) -> str:
    """Return what faults were injected into a run on a camera, and how long it took to tell and to recover."""
    rows = heading(["fault", "times", "told after (median, longest)", "results again (median, longest)"])
    for name in dict.fromkeys(row["fault"] for row in results["faults"]):
        found = [row for row in results["faults"] if row["fault"] == name]
        spread = [
            f"{sorted(row[key] for row in found)[len(found) // 2]:.1f} s, {max(row[key] for row in found):.1f} s"
            for key in ("told_after", "back_after")
        ]
        rows.append(f"| {name} | {len(found)} | {spread[0]} | {spread[1]} |")
    age = results["age_ms"]
    said = f"{results['results']:,} results, {results['dropped']:,} dropped and counted, {results['errors']:,} errors; "
    said += f"each once and in order: {'yes' if results['in_order_and_once'] else 'no'}; every frame accounted for: "
    said += f"{'yes' if results['every_index_accounted_for'] else 'no'}; age {age['p50']:.1f} ms median, "
    said += f"{age['p99']:.1f} ms p99; `promtool check metrics`: {results['promtool']}."
    return "\n".join([*rows, "", said, "", measured(results)])


def archive_table(results: dict[str, Any]) -> str:
    """Return what a cluster does with one and two classifiers, beside threads of the same machine."""
    said = {
        "rate": "cluster, files/s", "cpu_ms": "its classifiers, ms of a core for a file",
        "alone": "`infer --folder` on as many threads, files/s", "alone_cpu_ms": "the same, ms of a core for a file",
    }  # fmt: skip
    rows = [f"| {text} | {results[name]['1']:,.4g} | {results[name]['2']:,.4g} |" for name, text in said.items()]
    return "\n".join(["| | one | two |", "|---|---|---|", *rows, "", measured(results)])


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "models": ("models", models_table),
    "sets": ("models", sets_table),
    "all": ("all", all_table),
    "sizes": ("sizes", sizes_table),
    "outliers": ("outliers", outliers_table),
    "ablation": ("ablation", ablation_table),
    "quantisers": ("quantisers", quantisers_table),
    "gain": ("gain", gain_table),
    "training": ("training", training_table),
    "leaks": ("leaks", leaks_table),
    "medmnist": ("medmnist", medmnist_table),
    "ratios": ("", ratios_table),
    "peers": ("peers", peers_table),
    "goals": ("peers", goals_table),
    "soak": ("soak", soak_table),
    "faults": ("fault_run", fault_run_table),
    "footprint": ("footprint", footprint_table),
    "steps": ("", steps_list),
    "console": ("", console_text),
    "rows": ("", footprint_table),
    "fleet": ("fleet", fleet_table),
    "writes": ("writes", writes_table),
    "archive": ("archive", archive_table),
    "processor": ("without_vnni", processor_table),
}
"""Kind of a part to the file of its results (a part of the page's text may name another) and its writer."""


if __name__ == "__main__":
    raise SystemExit(main())
