#!/usr/bin/env python3
"""Fill the generated parts of README.md and docs/: help texts and figures; with --check only tell what is out of date.

A generated part stands between ``<!-- begin KIND ARGUMENT -->`` and ``<!-- end -->``. Kinds: ``help VERB``, the text of
``kdlight-edge VERB --help``; ``models``, the table of bundles from docs/results/models.json; ``ratios NAME``, a
comparison with a peer from docs/results/NAME.json; ``footprint``, what the runtime weighs; ``rows NAME``,
figures beside their goals from docs/results/NAME.json.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
        new = PART.sub(lambda part: f"{part[1]}{generate(part[2], part[3])}\n{part[4]}", old)
        if new != old:
            stale.append(page.relative_to(ROOT))
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        print(f"{page} is out of date: run scripts/pages.py" if check else f"wrote {page}", file=sys.stderr)
    return 1 if check and stale else 0


def generate(kind: str, argument: str) -> str:
    """Return the text of one generated part."""
    if kind == "help":
        return help_text(argument)
    if kind == "models":
        return models_table(json.loads((RESULTS / "models.json").read_text(encoding="utf-8")))
    if kind == "ratios":
        return ratios_table(json.loads((RESULTS / f"{argument}.json").read_text(encoding="utf-8")))
    if kind == "footprint":
        return footprint_table(json.loads((RESULTS / "footprint.json").read_text(encoding="utf-8")))
    if kind == "rows":
        return footprint_table(json.loads((RESULTS / f"{argument}.json").read_text(encoding="utf-8")))
    raise SystemExit(f"unknown generated part: {kind}")


def help_text(verb: str) -> str:
    """Return a verb's help as a code block, 100 characters wide."""
    command = [sys.executable, "-m", "kdlight_edge.cli", *verb.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "100"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return f"```text\n$ kdlight-edge {verb + ' ' if verb else ''}--help\n{text.rstrip()}\n```"


def models_table(results: dict[str, Any]) -> str:
    """Return the bundles with what was measured about them, and where."""
    titles = ["bundle", "classes", "test pictures", "accuracy (95 % interval)", "its teacher", "balanced", "AUC", "ECE"]
    titles += ["parameters", "bundle size", "network p50"]
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for entry in results["models"]:
        judged, teacher = entry["eval"], entry["teacher"]
        low, high = judged["ci95"]
        rows.append(
            f"| [`{entry['name']}`](models/{entry['name']}.kdl) | {', '.join(entry['labels'])} | {judged['n']:,} "
            f"| **{judged['accuracy']:.1%}** ({low:.1%} to {high:.1%}) | {teacher['accuracy']:.1%} "
            f"| {judged['balanced_accuracy']:.1%} | {judged['auc']:.3f} | {judged['ece']:.3f} "
            f"| {entry['parameters'] / 1e6:.2f} M | {entry['bytes'] / 1e6:.2f} MB | {entry['p50_ms']:.2f} ms |"
        )
    return "\n".join([*rows, "", measured(results)])


def ratios_table(results: dict[str, Any]) -> str:
    """Return the comparison with the peer, same run, same machine."""
    rows = ["| | kdlight-edge | " + results["peer"] + " | ratio |", "|---|---|---|---|"]
    rows += [f"| {row['what']} | {row['ours']} | {row['peer']} | **{row['ratio']}** |" for row in results["rows"]]
    return "\n".join([*rows, "", measured(results)])


def footprint_table(results: dict[str, Any]) -> str:
    """Return what the runtime weighs."""
    rows = ["| | measured | goal |", "|---|---|---|"]
    rows += [f"| {row['what']} | {row['value']} | {row['goal']} |" for row in results["rows"]]
    return "\n".join([*rows, "", measured(results)])


def measured(results: dict[str, Any]) -> str:
    """Return the line that says where, when and by which command figures were measured."""
    return f"Measured on {results['machine']}, {results['date']}, by `{results['command']}`."


if __name__ == "__main__":
    raise SystemExit(main())
