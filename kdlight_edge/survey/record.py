"""What is told of a surface: one JSON line, one row of a table, one line for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlight_edge.decide import rounded
from kdlight_edge.survey.exif import Taken
from kdlight_edge.survey.georef import Georeference
from kdlight_edge.survey.judge import SKIPPED, Survey
from kdlight_edge.survey.runs import Run, coverage, runs

SCHEMA = "kdlight-edge/surface/1"

NOTHING = "nothing could be judged"
"""What people are told of a surface without a coverage."""

COLUMNS = (
    "source", "taken", "taken_utc", "latitude", "longitude", "altitude", "width", "height", "label", "tiles_found",
    "coverage_percent", "run_tiles", "run_pixels", "run_mm", "band", "tiles", "tiles_judged", "judged_percent",
    *SKIPPED.values(), "reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One class that matters, on one surface."""

    label: str
    tiles: int
    coverage: float | None
    """Percent of the judged area; None where nothing could be judged."""
    runs: tuple[Run, ...]
    """The longest first."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One picture of an inspection."""

    source: str
    taken: Taken
    survey: Survey | None
    """None where it could not be read."""
    reason: str = ""
    """Why it could not be read."""
    georeference: Georeference | None = None
    unused: str = ""
    """Why its georeference cannot be used, and what else the file holds."""
    findings: tuple[Finding, ...] = ()
    coverage: float | None = None
    """Percent of the judged area with any class that matters."""
    mm_per_pixel: float | None = None
    bands: tuple[float, ...] = ()

    @property
    def band(self) -> int | None:
        """How many of the thresholds the coverage reaches; None where nothing was judged."""
        return None if self.coverage is None else sum(self.coverage >= limit for limit in self.bands)

    @property
    def skipped(self) -> dict[str, int]:
        """Tiles that were not judged, by reason."""
        counts = Counter(self.survey.letters.ravel().tolist()) if self.survey is not None else Counter()
        return {name: counts[letter] for letter, name in SKIPPED.items() if counts[letter]}

    @property
    def judged_percent(self) -> float:
        """Share of the picture's area that was judged."""
        if self.survey is None:
            return 0.0
        areas = self.survey.grid.areas()
        return 100.0 * int(areas[self.survey.judged].sum()) / int(areas.sum())


def findings_of(survey: Survey) -> tuple[tuple[Finding, ...], float | None]:
    """Measure each class that matters; also the coverage of all of them together."""
    judged, grid = survey.judged, survey.grid
    found = [survey.found(number) for number in range(len(survey.classes))]
    findings = tuple(
        Finding(label, int(mask.sum()), coverage(mask, judged, grid), tuple(runs(mask, grid)))
        for label, mask in zip(survey.classes, found, strict=True)
    )
    return findings, coverage(np.logical_or.reduce(found), judged, grid)


def band_name(bands: Sequence[float], number: int) -> str:
    """Return a band in words: ``below 1 %``, ``1 to 5 %``, ``20 % or more``."""
    if not bands:
        return ""
    if number == 0:
        return f"below {bands[0]:g} %"
    if number == len(bands):
        return f"{bands[-1]:g} % or more"
    return f"{bands[number - 1]:g} to {bands[number]:g} %"


def to_record(surface: Surface, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return a surface as one JSON object; docs/surfaces.md explains the keys."""
    survey, taken = surface.survey, surface.taken
    record: dict[str, Any] = {
        "schema": SCHEMA, "source": surface.source, "decision": "error" if survey is None else "judged",
        "reason": surface.reason, "taken": taken.local, "taken_utc": taken.utc, "place": _place(taken),
        "note": "; ".join(part for part in (taken.note, surface.unused) if part),
    }  # fmt: skip
    if survey is None:
        return {**record, **origin}
    grid = survey.grid
    record |= {
        "width": grid.width,
        "height": grid.height,
        "coverage_percent": rounded(surface.coverage, 3),
        "band": surface.band,
        "bands": list(surface.bands),
        "judged_percent": round(surface.judged_percent, 3),
        "mm_per_pixel": rounded(surface.mm_per_pixel, 4),
        "findings": [_finding(finding, surface.mm_per_pixel) for finding in surface.findings],
        "tiles": {
            "columns": len(grid.lefts), "rows": len(grid.tops), "width": grid.across, "height": grid.down,
            "count": survey.letters.size, "judged": int(survey.judged.sum()), "skipped": surface.skipped,
            "lefts": list(grid.lefts), "tops": list(grid.tops),
            "letters": ["".join(row) for row in survey.letters.tolist()],
            "probability": {
                label: [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in plane]
                for label, plane in zip(survey.classes, survey.chances, strict=True)
            },
        },
        "seconds": round(survey.seconds, 3),
    }  # fmt: skip
    return {**record, **origin}


def _place(taken: Taken) -> dict[str, float | None] | None:
    if taken.latitude is None:
        return None
    return {"latitude": taken.latitude, "longitude": taken.longitude, "altitude": taken.altitude}


def _finding(finding: Finding, scale: float | None) -> dict[str, Any]:
    longest = finding.runs[0] if finding.runs else None
    return {
        "label": finding.label,
        "tiles": finding.tiles,
        "coverage_percent": rounded(finding.coverage, 3),
        "runs": len(finding.runs),
        "longest_run": {
            "tiles": longest.length if longest else 0,
            "pixels": round(longest.pixels) if longest else 0,
            "mm": None if scale is None else round((longest.pixels if longest else 0) * scale, 1),
        },
    }


def to_rows(surface: Surface) -> list[tuple[object, ...]]:
    """Return the rows of a table, one for each class that matters, in the order of `COLUMNS`."""
    taken, survey, skipped = surface.taken, surface.survey, surface.skipped
    first = (
        surface.source, taken.local, taken.utc, taken.latitude, taken.longitude, taken.altitude,
    )  # fmt: skip
    if survey is None:
        return [(*first, *(None,) * (len(COLUMNS) - len(first) - 1), surface.reason)]
    tiles = (survey.letters.size, int(survey.judged.sum()), round(surface.judged_percent, 3))
    rows = []
    for finding in surface.findings:
        told = _finding(finding, surface.mm_per_pixel)
        run = told["longest_run"]
        rows.append((
            *first, survey.grid.width, survey.grid.height, finding.label, finding.tiles, told["coverage_percent"],
            run["tiles"], run["pixels"], run["mm"], surface.band, *tiles,
            *(skipped.get(name, 0) for name in SKIPPED.values()), "",
        ))  # fmt: skip
    return rows


def to_line(surface: Surface, texts: Mapping[str, str]) -> str:
    """Return a surface in one line for people."""
    name = surface.source if surface.source.isprintable() else ascii(surface.source)
    if surface.survey is None:
        return f"{name}  error: {surface.reason}"
    said = []
    for finding in surface.findings:
        text = f"{texts.get(finding.label, finding.label)} {finding.coverage or 0:.2f} %"
        if finding.runs:
            text += f", longest run {length_text(finding.runs[0], surface.mm_per_pixel)}"
        said.append(text)
    if surface.band is None:
        said = [NOTHING]
    elif surface.bands:
        said.append(f"band {surface.band} ({band_name(surface.bands, surface.band)})")
    survey = surface.survey
    said.append(f"{int(survey.judged.sum()):,} of {survey.letters.size:,} tiles judged")
    said += [f"{count:,} {name}" for name, count in surface.skipped.items()]
    return f"{name}  {'; '.join(said)}"


def length_text(run: Run, scale: float | None) -> str:
    """Return the length of a run for people."""
    text = f"{run.length:,} {'tile' if run.length == 1 else 'tiles'} ({run.pixels:,.0f} px"
    return text + (")" if scale is None else f", {run.pixels * scale:,.0f} mm)")
