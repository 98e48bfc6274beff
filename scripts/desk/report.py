"""A board's benchmark as one HTML file with its plots; it fetches nothing."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from kdlight_edge.hil.trial import NAMES

from .page import Record, Table, facts, headline, sections, subline, timed
from .plots import over_time, percentiles


def html(record: Record) -> str:
    """Write the page."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    title = escape(headline(record))
    parts = [f"<h1>{title}</h1><p class=sub>{_inline(subline(record))}</p>", _badges(record)]
    rows = [(name, _proved(found)) for name, found, _ in timed(record)]
    if rows := [row for row in rows if row[1]]:
        parts.append(
            f"<h2>Times</h2><figure>{percentiles(rows)}"
            "<figcaption><b class=p50>p50</b> <b class=p90>p90</b> <b class=p99>p99</b>, where the samples prove it"
            "</figcaption></figure>"
        )
    for name, plot, caption in _plots(record):
        parts.append(f"<h2>{escape(name)}</h2><figure>{plot}<figcaption>{caption}</figcaption></figure>")
    parts += [
        f"<h2>{escape(name)}</h2>{_table(table) if table else ''}"
        + (f"<p class=note>{_inline(note)}</p>" if note else "")
        for name, table, note in sections(record)
    ]
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{_inline(text)}</dd>" for name, text in facts(record))
    parts.append(f"<h2>The board</h2><dl>{pairs}</dl>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{title}</title><link rel="icon" href="data:,"><style>{style}</style>'
        f"<main>{''.join(parts)}</main></html>\n"
    )


def _badges(record: Record) -> str:
    """Return the verdict in a few words."""
    budget = record["budget"]
    missed = [row["what"] for row in budget["rows"] if not row["met"]] if budget else []
    said = [("bad", f"budget missed: {', '.join(missed)}")] if missed else []
    said += [("good", "within its budget")] if budget and budget["rows"] and not missed else []
    labels = dict.fromkeys(label for trial in record["trials"] for label in trial["labels"])
    said += [("warn", label) for label in labels]
    for verdict, kind in (("worse", "warn"), ("better", "good")):
        count = sum(one["verdict"] == verdict for one in record["reference"])
        said += [(kind, f"{count} figure{'s' * (count != 1)} {verdict} than the reference")] if count else []
    return f"<p>{' '.join(f'<span class={kind}>{escape(text)}</span>' for kind, text in said)}</p>" if said else ""


def _proved(found: Mapping[str, Any]) -> dict[str, float]:
    return {key: found[key] for key in ("p50", "p90", "p99") if found[key] is not None}


def _plots(record: Record) -> Iterator[tuple[str, str, str]]:
    """Yield title, SVG and caption of everything that has a course."""
    for trial in record["trials"]:
        name = NAMES[trial["scenario"]].capitalize() + (", locked clocks" if trial["clocks"] == "locked" else "")
        camera = trial["figures"].get("camera")
        points = camera["series"] if camera else trial["figures"].get("series", [])
        if len(points) > 1:
            faults = camera["faults"] if camera else []
            shades = [(fault["kind"], fault["at"], fault["at"] + fault["seconds"]) for fault in faults]
            lines = [
                ("largest", [(s, worst) for s, _, worst in points]),
                ("median", [(s, mid) for s, mid, _ in points]),
            ]
            what = "age of a result" if camera else "time of one answer"
            caption = f"<b class=one>largest</b> and <b class=two>median</b> {what} in each slice of the run"
            yield name, over_time(f"{name}: {what}", "ms", lines, shades), caption
        yield from _board(trial, name)


COURSES = {
    "celsius": ("temperature", "°C"),
    "mhz": ("clock", "MHz"),
    "watts": ("power", "W"),
    "rss_mb": ("memory", "MB"),
}
"""What a look at the board holds, its name and unit."""


def _board(trial: Record, name: str) -> Iterator[tuple[str, str, str]]:
    for key, (what, unit) in COURSES.items():
        points = [(look["s"], look[key]) for look in trial["board"]["series"] if look[key] is not None]
        # Fewer points are no course; memory is of interest where it may grow, in the long run.
        if len(points) > 10 and (key != "rss_mb" or trial["scenario"] == "e"):  # noqa: PLR2004
            title = f"{name}: {what}"
            plot = over_time(title, unit, [("", points)], from_zero=key == "watts")
            yield title, plot, "as it was looked at while the scenario ran"


def _table(rows: Table) -> str:
    first, *rest = rows
    head = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in first)}</tr>" if any(first) else ""
    body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rest)
    return f"<div class=wide><table>{head}{body}</table></div>"


def _inline(text: str) -> str:
    """Turn Markdown's stress and code into HTML."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
