"""A finished run of ``infer`` in lines for people."""

import sys

from kdlight_edge.dicom.study import describe as describe_study
from kdlight_edge.tally import Summary

STUDIES_TOLD = 20
"""Lines at the end of a run at most, the last studies; every frame has its own line in the output."""


def tell(summary: Summary, *, live: bool) -> None:
    """Say on stderr what a finished run adds up to."""
    print(describe(summary, live=live), file=sys.stderr)
    for study in summary.studies[-STUDIES_TOLD:]:
        print(describe_study(study), file=sys.stderr)
    if len(summary.studies) > STUDIES_TOLD:
        print(f"and {len(summary.studies) - STUDIES_TOLD:,} studies before them", file=sys.stderr)


def tell_stopped(done: int, total: int) -> None:
    """Say on stderr how far a run of ``total`` pictures came; 0 where nobody knows how many there are."""
    print(f"kdlight-edge: stopped after {done:,}{f' of {total:,}' if total else ''} pictures", file=sys.stderr)


def describe(summary: Summary, *, live: bool) -> str:
    """Return a finished run in one line for people."""
    said = [f"{label} {count:,}" for label, count in summary.by_label.items()]
    counts = {
        "abstained": summary.abstained, "outliers": summary.outliers, "stale": summary.stale,
        "not answered": summary.errors, "dropped": summary.dropped,
    }  # fmt: skip
    said += [f"{count:,} {name}" for name, count in counts.items() if count]
    text = f"{summary.frames:,} pictures in {summary.seconds:.1f} s ({summary.images_per_second:,.0f}/s)"
    text += f": {', '.join(said)}" if said else ""
    if summary.judged:
        text += f"; {summary.right:,} of {summary.judged:,} as {'the source says' if live else 'their folders say'}"
    if live and summary.age_ms:
        text += "; age " + ", ".join(f"{name} {value:.1f} ms" for name, value in summary.age_ms.items())
    return text
