"""A board's benchmark as a Markdown page: what it is, every figure, its budget, and the known boards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdlight_devices.fingerprint import describe
from kdlight_edge.hil.trial import NAMES

Record = Mapping[str, Any]
Table = Sequence[Sequence[str]]
"""Rows of cells; the first holds the titles."""

TITLES = ("", "n", "p50", "p90", "p99", "mean", "max", "cv", "labels")


def markdown(record: Record) -> str:
    """Write the page."""
    lines = [f"# {headline(record)}", "", subline(record), ""]
    lines += [f"- **{name}**: {text}" for name, text in facts(record)]
    for title, table, note in sections(record):
        lines += ["", f"## {title}", ""]
        lines += _table(table) if table else []
        lines += ["", note] if note and table else [note] if note else []
    return "\n".join(lines) + "\n"


def headline(record: Record) -> str:
    """Return what was measured on what."""
    first = record["trials"][0]
    return f"{first['bundle']['name']} on {describe(first['machine'])}"


def subline(record: Record) -> str:
    """Return when and by which command."""
    first = record["trials"][0]
    return (
        f"{first['date']}, bundle {first['bundle']['digest'][:16]}, {first['engine']} {first['precision']}, "
        f"{first['threads']} thread{'s' * (first['threads'] != 1)} a run, by `{record['command']}`."
    )


def facts(record: Record) -> Table:
    """Return the board in pairs."""
    before = record["fingerprint"]
    machine, versions = before["machine"], before["versions"]
    power = record["trials"][0]["board"]["power"]["meter"]
    told = {
        "board": f"{machine['board']} ({machine['model'] or machine['cpu'] or machine['machine']})",
        "chip": machine["soc"] or machine["cpu"] or "not told",
        "kernel": machine["kernel"],
        "Jetson release, power mode": f"{machine['l4t']}, {machine['power_mode']}" if machine["l4t"] else "no Jetson",
        "governor, clock limit": f"{machine['governor'] or 'not told'}, {_hertz(machine['clock_limit_hz'])}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "power": {
            "none": "no meter on this board: an external one is needed",
            "pmic_read_adc": "the Pi's own converter, without what USB and HATs take",
        }.get(power, f"{power}, from the same run as the times"),
        "locked clocks": record["clocks"],
        "ambient, cooling": record["ambient"] or "not told",
        "changed while measured": "; ".join(record["changed"]) or "nothing",
        "left on the board": _left(record),
    }
    return [(name, str(text)) for name, text in told.items()]


def _left(record: Record) -> str:
    if record["kept"]:
        return f"{record['kept']}, as was asked for"
    new = record["left"]
    return f"new there since the start: {', '.join(new)}" if new else "nothing, by a listing before and afterwards"


def _hertz(value: int | None) -> str:
    return "not told" if value is None else f"{value / 1e9:.2f} GHz"


def sections(record: Record) -> Iterator[tuple[str, Table, str]]:
    """Yield title, table (may be empty) and note of each part of the page."""
    yield from _verdicts(record)
    yield (
        "Times, ms",
        [TITLES, *_series(record)],
        (
            "Percentiles are proved by MLPerf Inference's early stopping rule (99 % confidence): a dash means too few "
            "samples, a p99 needs 662. Nothing is left out as an outlier. UNSTABLE: cv above 2.5 %."
        ),
    )
    yield from _accuracy(record)
    yield from _cameras(record)
    yield from _folders(record)
    yield from _boards(record)


def _verdicts(record: Record) -> Iterator[tuple[str, Table, str]]:
    budget = record["budget"]
    if budget is None:
        yield "Budget", (), "This board has no budget here; --budget FILE.json takes one of your own."
    else:
        rows = [
            (row["what"], _number(row["measured"]), _number(row["allowed"]), "met" if row["met"] else "**MISSED**")
            for row in budget["rows"]
        ]
        yield "Budget", [("figure", "measured", "allowed", ""), *rows], f"Source: {budget['source']}."
    notes = list(dict.fromkeys(one["note"] for one in record["reference"] if one["note"]))
    known = [_known(one, notes) for one in record["reference"]]
    titles = ("figure", "clocks", "here", "reference", "unit", "ratio", "")
    if known:
        marks = "".join(f" {_mark(number)} {text}." for number, text in enumerate(notes))
        note = f"Better and worse are told alike; within 10 % is alike.{marks}"
        yield "Against the reference", [titles, *known], note
    else:
        yield "Against the reference", (), "No board like this one, with this bundle and engine, is known."


def _known(one: Mapping[str, Any], notes: Sequence[str]) -> Sequence[str]:
    """Lay out one figure beside its reference; what is to be said of it stands below the table, once."""
    note = f" {_mark(notes.index(one['note']))}" if one["note"] else ""
    numbers = _number(one["measured"]), _number(one["reference"]), one["unit"], f"{one['ratio']:.2f}"
    return one["figure"], one["clocks"], *numbers, f"{one['verdict']}{note}"


def _mark(number: int) -> str:
    return f"({number + 1})"


def _series(record: Record) -> Iterator[Sequence[str]]:
    for name, found, labels in timed(record):
        yield (
            name, f"{found['n']:,}", *(_number(found[key]) for key in ("p50", "p90", "p99", "mean", "max")),
            f"{found['cv']:.1%}", labels,
        )  # fmt: skip


def timed(record: Record) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the name, the summary and the labels of everything that has times."""
    for trial in record["trials"]:
        found, locked = trial["figures"], ", locked clocks" if trial["clocks"] == "locked" else ""
        throttled = "THROTTLED" if "THROTTLED" in trial["labels"] else ""
        named = {"model only": found["model"]} if "model" in found else {}
        named |= {f"bytes to result, {size}": times for size, times in found.get("bytes_to_result", {}).items()}
        if "camera" in found:
            named[f"{NAMES[trial['scenario']]}: age"] = found["camera"]["age_ms"]
        for name, times in named.items():
            unstable = "UNSTABLE" if times["unstable"] else ""
            yield name + locked, times, " ".join(filter(None, (unstable, throttled)))


def _accuracy(record: Record) -> Iterator[tuple[str, Table, str]]:
    rows = []
    note = ""
    for trial in record["trials"]:
        golden, judged = trial["golden"], trial["figures"].get("accuracy")
        rows.append(
            (f"{trial['scenario']}, {trial['clocks']}", f"{golden['largest_difference']:.2g}", f"{golden['allowed']:g}",
             "-" if judged is None else _judged(judged))
        )  # fmt: skip
        if judged is not None and trial["exported_accuracy"] is not None:
            note = f"At export this engine's file had {trial['exported_accuracy']:.1%}, on its held-out pictures."
    yield (
        "Accuracy, by the engine that was timed",
        [("scenario", "golden |Δlogit|", "allowed", "accuracy"), *rows],
        note,
    )


def _judged(accuracy: Record) -> str:
    bad = accuracy.get("unreadable", 0)  # older records do not count them
    return f"{accuracy['accuracy']:.1%} of {accuracy['n']}" + (f", {bad} more unreadable" if bad else "")


def _cameras(record: Record) -> Iterator[tuple[str, Table, str]]:
    for trial in record["trials"]:
        camera = trial["figures"].get("camera")
        if camera is None:
            continue
        rate, shares = f"{camera['images_per_second']:.1f} a second", f"{camera['dropped_share']:.2%}"
        thirds = " and ".join(_number(camera[key]) for key in ("first_p99_ms", "last_p99_ms"))
        rows = [
            ("", ""),
            ("sent, results", f"{camera['sent']:,}, {camera['results']:,} ({rate})"),
            ("dropped", f"{camera['dropped']:,} ({shares})"),
            ("repeated pictures, none answered", f"{camera['repeated']:,}"),
            ("reconnected", f"{camera['reconnects']} times"),
            ("p99 of the age, first and last third", f"{thirds} ms"),
            *(_fault(fault) for fault in camera["faults"]),
        ]
        title = f"{NAMES[trial['scenario']].capitalize()}, {camera['fps']:g} frames/s for {camera['seconds']:g} s"
        patience = camera["patience"]
        note = (
            f"Silence of {patience['stall_s']:g} s or one same picture for {patience['freeze_s']:g} s counts as a loss."
        )
        yield title, rows, note


def _fault(fault: Mapping[str, Any]) -> tuple[str, str]:
    back = "never back" if fault["back_s"] is None else f"back {fault['back_s']:.2f} s after its end"
    return f"{fault['kind']} for {fault['seconds']:.1f} s", f"{fault['answered']} answers in it, {back}"


def _folders(record: Record) -> Iterator[tuple[str, Table, str]]:
    for trial in record["trials"]:
        found = trial["figures"]
        if "throughput" not in found:
            continue
        rows = [(f"JPEG {size}", _runs(run)) for size, run in found["throughput"].items()]
        cold = found["cold_start_ms"]
        rows += [
            ("cold start to first result", f"{cold['median']:.0f} ms ({cold['min']:.0f} to {cold['max']:.0f})"),
            ("peak memory", f"{found['peak_rss_bytes'] / 1e6:.1f} MB"),
        ]
        yield "Offline folder", [("", ""), *rows], "Files were just written, so they come from the page cache."


def _runs(run: Mapping[str, Any]) -> str:
    spread = f"{run['min']:.0f} to {run['max']:.0f} in {len(run['runs'])} runs"
    return f"{run['images_per_second']:.0f} images/s, {run['workers']} workers ({spread})"


def _boards(record: Record) -> Iterator[tuple[str, Table, str]]:
    titles = ("scenario", "°C", "MHz", "throttled", "W (idle)", "J an answer", "memory grows", "written")
    note = "Memory is followed over the second half of runs of two minutes and more; bytes written to disk in the soak."
    yield "The board meanwhile", [titles, *map(_seen, record["trials"])], note


def _seen(trial: Record) -> Sequence[str]:
    """Lay out what the board did during one scenario."""
    seen = trial["board"]
    power, growth = seen["power"], seen["rss_mb_per_hour"]
    slowed = "not told" if seen["throttled_seconds"] is None else f"{seen['throttled_seconds']:g} s"
    written = seen["written_bytes"] if trial["scenario"] == "e" else None
    return (
        f"{trial['scenario']}, {trial['clocks']}",
        _span(seen["celsius"], 1),
        _span(seen["clock_hz"], 1e6),
        " ".join([slowed, *seen["throttled_by"]]),
        "-" if power["mean_watts"] is None else f"{power['mean_watts']:.2f} ({_number(power['idle_watts'])})",
        _number(trial["joules"]),
        "-" if growth is None else f"{growth:+.2f} MB/h",
        "-" if written is None else f"{written:,} B",
    )


def _span(found: Mapping[str, float] | None, unit: float) -> str:
    return "-" if found is None else f"{found['min'] / unit:.0f} to {found['max'] / unit:.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004


def _table(rows: Table) -> list[str]:
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
