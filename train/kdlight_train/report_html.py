"""A report as one page that needs nothing else: inline style, hand-written SVG, pictures inside; no outside request."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from kdlight_train.report import Report
from kdlight_train.report_numbers import count, duration, fraction, interval, percent, short, size, whole_percent
from kdlight_train.report_pictures import mistake_figure
from kdlight_train.report_tables import class_table, confusion_table, judged_on, model_table, named, table
from kdlight_train.svg import curve, intervals


def page(report: Report) -> str:
    """Return the whole HTML page."""
    style = files("kdlight_train").joinpath("report.css").read_text(encoding="utf-8")
    sections = [
        _head(report),
        _headline(report),
        _section("Teacher and student" if report.teacher else "Student", model_table(report)),
        _section("Every class", class_table(report)),
        _section("Confusion", confusion_table(report)),
        _section("Acceptance", f"<p>{escape(report.acceptance.told())}.</p>") if report.acceptance else "",
        _section("Learning", _learning(report)),
        _section("Worst mistakes", _mistakes(report)),
        _section("Data", _data(report)),
        _section("Recipe", _facts(report.recipe)),
        _section("Machine", _facts({**report.environment, **_time(report)})),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        f'content="light dark">\n<title>{escape(report.name)} · training report</title>\n<style>\n{style}</style>\n'
        f"</head>\n<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _time(report: Report) -> dict[str, str]:
    share = report.making_pictures
    outside = {} if share is None else {"of it making pictures, in neither network": percent(share)}
    return {"training time": duration(report.seconds), **outside}


def _head(report: Report) -> str:
    made = report.made.replace("T", " ").split(".")[0].removesuffix("Z").removesuffix("+00:00")
    learnt = f" from {escape(report.teacher.name)}" if report.teacher else ""
    facts = f"{escape(report.student.name)} distilled{learnt}" if report.teacher else escape(report.student.name)
    return (
        f'<header><p class="kind">kdlight-edge · training report</p><h1>{escape(report.name)}</h1>'
        f"<p>{facts} · {len(report.labels)} classes · {escape(made)} UTC</p></header>\n"
    )


def _headline(report: Report) -> str:
    """Accuracy large, with its interval, then the other figures of the student."""
    student = report.student
    judged, part = student.judged, judged_on(student)
    rows = [
        (kind.lower(), model.judged["ci95"][0], model.judged["accuracy"], model.judged["ci95"][1])
        for kind, model in reversed(named(report))
    ]
    tiles = [
        ("Balanced accuracy", percent(judged["balanced_accuracy"])),
        ("Macro F1", fraction(judged["macro_f1"])),
        ("AUC", fraction(judged["auc"])),
        ("Calibration error", fraction(student.ece_after)),
        ("Parameters", count(student.parameters)),
        ("Size in fp32", size(student.bytes_fp32)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return (
        f'<section class="headline"><div class="accuracy"><p class="label">Accuracy, {part}</p>'
        f'<p class="big">{percent(judged["accuracy"])}</p><p>95 % interval {interval(*judged["ci95"])}</p></div>'
        f'<figure class="forest">{intervals("Accuracy with 95 % intervals", rows, whole_percent)}'
        f"<figcaption>Accuracy and its 95 % interval (Wilson), {judged['n']:,} pictures. The interval takes pictures "
        "as independent; where several show one patient or one wall, the true one is wider.</figcaption></figure>"
        f'<dl class="tiles">{cells}</dl></section>\n'
    )


def _learning(report: Report) -> str:
    kinds = (("loss", "Training loss", short), ("val_accuracy", "Validation accuracy", whole_percent))
    figures = []
    for key, title, write in kinds:
        line = [
            (float(entry["epoch"]), float(entry[key]))
            for entry in report.history
            if entry.get(key) is not None and math.isfinite(entry[key])
        ]
        if line:
            reference = report.teacher.val["accuracy"] if report.teacher and key == "val_accuracy" else None
            mark = None if reference is None else ("teacher", float(reference))
            drawn = curve(title, line, write, mark=mark)
            figures.append(f"<figure><figcaption>{title}</figcaption>{drawn}</figure>")
    if not figures:
        return "<p>No epoch was recorded.</p>"
    speeds = [entry["images_per_second"] for entry in report.history if entry.get("images_per_second")]
    pace = f", {sorted(speeds)[len(speeds) // 2]:,.0f} pictures a second (median)" if speeds else ""
    return (
        f'<div class="curves">{"".join(figures)}</div>'
        f"<p class='aside'>{len(report.history)} epochs of the student{pace}.</p>"
    )


def _mistakes(report: Report) -> str:
    if not report.mistakes:
        return f"<p>None: every one of the {report.student.judged['n']:,} pictures was answered rightly.</p>"
    mapped = any(mistake.cam is not None for mistake in report.mistakes)
    told = " The second picture shows where the network saw what it answered (class activation map)." if mapped else ""
    return (
        f"<p class='aside'>The wrong answers that were given with the most confidence.{told}</p>"
        f'<div class="mistakes{"" if mapped else " single"}">{"".join(map(mistake_figure, report.mistakes))}</div>'
    )


def _data(report: Report) -> str:
    parts: Mapping[str, Mapping[str, int]] = report.data.get("counts", {})
    rows = [(escape(label), *(f"{held.get(label, 0):,}" for held in parts.values())) for label in report.labels]
    rows.append(("<b>all</b>", *(f"{sum(held.values()):,}" for held in parts.values())))
    audit = report.data.get("audit") or {}
    problems = "".join(f'<p class="problem">{escape(str(line))}</p>' for line in audit.get("serious", ()))
    names = {"train": "Training", "val": "Validation", "test": "Test"}
    head = ("Class", *(names.get(part, escape(part)) for part in parts))
    notes = "".join(f'<p class="aside">{escape(str(note))}</p>' for note in audit.get("notes", ()))
    facts = _facts({**_findings(audit), "fingerprint": report.data.get("fingerprint")})
    return table(head, rows) + problems + facts + notes


def _findings(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the audit down to a line a finding."""
    if not audit:
        return {}
    near, exact = audit.get("near", ()), audit.get("exact", ())
    across = sum(len({member["split"] for member in cluster["members"]}) > 1 for cluster in near)
    sizes = ["x".join(map(str, audit[key])) for key in ("smallest", "largest") if key in audit]
    return {
        "pixels": " to ".join(dict.fromkeys(sizes)),
        "largest class over smallest": f"{audit.get('imbalance', 1):.1f}",
        "unreadable files": len(audit.get("unreadable", ())),
        "byte-identical pictures": f"{len(exact)} clusters",
        "near-duplicates": f"{len(near)} clusters, {across} across splits",
        "groups in several splits": len(audit.get("shared_groups", ())),
    }


def _facts(facts: Mapping[str, Any]) -> str:
    """List names and values; a table inside a table is indented by its name."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _flat(facts) if value
    )
    return f'<dl class="facts">{rows}</dl>'


def _flat(facts: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in facts.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name} · ")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, str(value)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>\n"
