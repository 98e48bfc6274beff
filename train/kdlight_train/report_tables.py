"""The tables of a report: teacher beside student, class by class, and the confusion matrix in colour."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from kdlight_edge.metrics import wilson
from kdlight_train.report import ModelResult, Report
from kdlight_train.report_numbers import (
    MISSING,
    count,
    fraction,
    interval,
    percent,
    points,
    signed,
    size,
    whole_percent,
)
from kdlight_train.svg import whisker

Row = Sequence[str]


def model_table(report: Report) -> str:
    """Lay teacher and student side by side; without a teacher the student stands alone."""
    models = [report.teacher, report.student] if report.teacher else [report.student]
    rows: list[Row] = []
    for part, name in (("test", "test"), ("val", "validation")):
        judged = [getattr(model, part) for model in models]
        if all(judged):
            rows += _compared(name, judged, report.difference.get(part))
    plain = (
        ("Calibration error before temperature", "ece_before", fraction),
        ("Calibration error after temperature", "ece_after", fraction),
        ("Temperature", "temperature", lambda value: f"{value:.2f}"),
    )
    rows += [(title, *(write(getattr(model, key)) for model in models), "") for title, key, write in plain]
    costs = (
        ("Parameters", "parameters", count),
        ("Multiply-adds a picture", "macs", count),
        ("Size in fp32", "bytes_fp32", size),
    )
    for title, key, write in costs:
        values = [getattr(model, key) for model in models]
        rows.append((title, *map(write, values), _times(values[0], values[-1])))
    names = [f"{kind}<br><small>{escape(model.name)}</small>" for kind, model in named(report)]
    return table(("", *names, "Difference" if report.teacher else ""), rows)


def named(report: Report) -> list[tuple[str, ModelResult]]:
    """Return the networks of a report with what they are, the student last."""
    return [*([("Teacher", report.teacher)] if report.teacher else []), ("Student", report.student)]


def _compared(name: str, judged: Sequence[Mapping[str, Any]], beside: Mapping[str, Any] | None) -> list[Row]:
    """Give the figures of one part: teacher, student and their difference, or the student alone."""
    first, last = judged[0], judged[-1]
    both = len(judged) > 1
    accuracies = [f"{percent(one['accuracy'])}<br><small>{interval(*one['ci95'])}</small>" for one in judged]
    gap = points(last["accuracy"], first["accuracy"]) if both else ""
    if both and beside:
        low, high = (signed(100 * bound, ".1f") for bound in beside["ci95"])
        gap += f"<br><small>{low} to {high}</small>"
    rows: list[Row] = [(f"Accuracy, {name}", *accuracies, gap)]
    key = "balanced_accuracy"
    gap = points(last[key], first[key]) if both else ""
    rows.append((f"Balanced accuracy, {name}", *(percent(one[key]) for one in judged), gap))
    for key, title in (("macro_f1", "Macro F1"), ("auc", "AUC")):
        known = both and first[key] is not None and last[key] is not None
        gap = signed(last[key] - first[key], ".3f") if known else ""
        rows.append((f"{title}, {name}", *(fraction(one[key]) for one in judged), gap))
    return rows


def class_table(report: Report) -> str:
    """Give each class its sensitivity and specificity with intervals, from the counts of the confusion matrix."""
    judged = report.student.judged
    counts, total = judged["confusion"], judged["n"]
    rows: list[Row] = []
    for index, label in enumerate(report.labels):
        entry = judged["per_class"][label]
        hit, held, called = counts[index][index], entry["n"], sum(row[index] for row in counts)
        rows.append(
            (
                escape(label),
                f"{held:,}",
                _share(hit, held),
                _share(total - held - called + hit, total - held),
                percent(entry["precision"]),
                fraction(entry["f1"]),
                fraction(entry["auc"]),
            )
        )
    head = ("Class", "Pictures", "Sensitivity", "Specificity", "Precision", "F1", "AUC")
    return table(head, rows) + (
        f"<p class='aside'>Student, {judged_on(report.student)}. Sensitivity: share of the class that is found. "
        "Specificity: share of the others that is left alone. Below each stands its 95 % interval, drawn on an axis "
        "from 0 to 100 %.</p>"
    )


def _share(part: int, whole: int) -> str:
    if not whole:
        return MISSING
    low, high = wilson(part, whole)
    return (
        f'<span class="measured">{whisker(low, part / whole, high)}<span>{percent(part / whole)}<br>'
        f"<small>{interval(low, high)}</small></span></span>"
    )


def confusion_table(report: Report) -> str:
    """Colour the counts by their share of the row: blue where right, red where wrong."""
    counts = report.student.judged["confusion"]
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in report.labels)
    rows = []
    for index, (label, cells) in enumerate(zip(report.labels, counts, strict=True)):
        whole = sum(cells)
        row = "".join(_cell(number, whole, right=index == place) for place, number in enumerate(cells))
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{row}</tr>')
    return (
        f'<div class="scroll"><table class="confusion"><thead><tr><td></td><th class="over" colspan="{len(counts)}">'
        f"answered</th></tr><tr><th>truth</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"<p class='aside'>Student, {judged_on(report.student)}; counts, and the share of the true class below.</p>"
    )


def _cell(number: int, whole: int, *, right: bool) -> str:
    if not number:
        return '<td class="none">0</td>'
    share = number / whole
    kind = ("right" if right else "wrong") + (" deep" if share > 0.5 else "")  # noqa: PLR2004 - where the text turns
    # The root lifts small shares: one mistake in a hundred must still be seen.
    return (
        f'<td class="{kind}" style="--share:{math.sqrt(share):.3f}">{number:,}'
        f"<small>{whole_percent(share)}</small></td>"
    )


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a table of cells that are HTML already; the first of a row is its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def judged_on(model: ModelResult) -> str:
    """Say which pictures the quoted figures are of."""
    return f"{model.judged['n']:,} {'validation' if model.test is None else 'test'} pictures"


def _times(large: float, small: float) -> str:
    return f"{large / small:.1f} times less" if small and large > small else ""
