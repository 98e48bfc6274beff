"""The page of an inspection: summary, map, table and pictures in one file of HTML that asks for nothing outside."""

import html
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources
from pathlib import PurePath
from typing import Any

from kdlight_edge.survey.record import NOTHING, Surface, band_name, length_text

HEADS = (
    "Picture", "Taken", "Found", "Coverage %", "Longest run, px", "Longest run, mm", "Band", "Judged %", "Not judged",
)  # fmt: skip

CARDS = 400
"""Cards with pictures at most, so that a phone can open the page; the table has every picture."""

WIDE, TALL, EDGE = 1000, 400, 40
"""Of the map, in its own units."""

METRES = 111_320.0
"""Of a degree of latitude."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is kept of a surface for the end."""

    row: str
    """All cells but the name's."""
    card: str
    kind: str
    """found | clean | unjudged | unreadable"""
    weight: float
    judged: float
    """Pixels that were judged."""
    found: float
    """Pixels of these with a class that matters."""
    whole: float
    """Pixels."""
    run: float
    """Pixels of the longest run."""
    band: int | None
    colour: str
    """Of its dot: the style's name."""
    place: tuple[float, float] | None
    """Longitude and latitude."""
    anchor: str
    picture: str
    """Address of its overlay; empty where there is none."""
    source: str
    name: str
    skipped: Mapping[str, int]
    tiles: int


class Page:
    """Collects surfaces; keeps a few hundred bytes of each."""

    def __init__(self, origin: Mapping[str, Any], texts: Mapping[str, str], read: str, listed: int) -> None:
        """Take what is the same for all; ``read`` is the folder or picture that is read, with ``listed`` pictures."""
        self._origin, self._texts, self._read, self._listed = origin, texts, read, listed
        self._entries: list[_Entry] = []

    def add(self, surface: Surface, picture: str) -> None:
        """Take one; ``picture`` is the overlay's address from the page, empty where there is none."""
        anchor = f"p{len(self._entries) + 1}"
        survey, found = surface.survey, [finding for finding in surface.findings if finding.tiles]
        kind = "unreadable" if survey is None else "found" if found else "clean"
        kind = "unjudged" if survey is not None and surface.coverage is None else kind
        areas = 0.0 if survey is None else float(survey.grid.width * survey.grid.height)
        judged = areas * surface.judged_percent / 100
        runs = [finding.runs[0].pixels for finding in found]
        self._entries.append(
            _Entry(
                self._row(surface), self._card(surface, picture, anchor), kind, surface.coverage or 0.0,
                judged, judged * (surface.coverage or 0.0) / 100, areas, max(runs, default=0.0), surface.band,
                _colour(surface.band, surface.bands),
                _place(surface), anchor, picture, surface.source, self._name(surface), surface.skipped,
                0 if survey is None else int(survey.letters.size),
            )
        )  # fmt: skip

    def _name(self, surface: Surface) -> str:
        """Return the path below the folder that is read: a camera's folders each begin at DJI_0001.JPG."""
        path = PurePath(surface.source)
        below = path != PurePath(self._read) and path.is_relative_to(self._read)
        return str(path.relative_to(self._read)) if below else path.name

    def _row(self, surface: Surface) -> str:
        runs = [finding.runs[0] for finding in surface.findings if finding.runs]
        longest = None if surface.coverage is None else max((run.pixels for run in runs), default=0.0)
        scale = surface.mm_per_pixel
        found = ", ".join(self._texts.get(f.label, f.label) for f in surface.findings if f.tiles) or "nothing"
        if surface.survey is None:
            found = f"not read: {surface.reason}"
        elif surface.coverage is None:
            found = NOTHING
        band = surface.band
        cells: list[tuple[object, str]] = [
            (
                surface.taken.utc or surface.taken.local or "",
                html.escape(surface.taken.local or surface.taken.utc or ""),
            ),
            (found, html.escape(found)),
            _number(surface.coverage, "{:.2f}"),
            _number(longest, "{:,.0f}"),
            _number(longest * scale if scale and longest is not None else None, "{:,.0f}"),
            ("" if band is None else band, f'<i class="band {_colour(band, surface.bands)}"></i>{_words(surface)}'),
            _number(surface.judged_percent, "{:.1f}"),
            (sum(surface.skipped.values()), html.escape(_counts(surface.skipped))),
        ]
        return "".join(_cell(key, text) for key, text in cells)

    def _card(self, surface: Surface, picture: str, anchor: str) -> str:
        name = html.escape(self._name(surface))
        said = [f'<i class="band {_colour(surface.band, surface.bands)}"></i><b>{name}</b>']
        if surface.survey is None:
            said.append(html.escape(surface.reason))
        elif surface.coverage is None:
            said.append(NOTHING)
        for finding in () if surface.coverage is None else surface.findings:
            text = f"{self._texts.get(finding.label, finding.label)}: {finding.coverage or 0:.2f} %"
            if finding.runs:
                text += f", longest run {length_text(finding.runs[0], surface.mm_per_pixel)}"
            said.append(html.escape(text))
        if surface.skipped:
            said.append(f'<span class="soft">not judged: {html.escape(_counts(surface.skipped))}</span>')
        notes = [note for note in (surface.taken.note, surface.unused) if note]
        said += [f'<span class="soft">{html.escape(note)}</span>' for note in notes]
        image = f'<a href="{picture}"><img loading="lazy" src="{picture}" alt="{name}"></a>' if picture else ""
        return f'<figure class="card" id="{anchor}">{image}<figcaption>{"<br>".join(said)}</figcaption></figure>'

    def html(self) -> str:
        """Return the page."""
        chosen = self._chosen()
        shown = {entry.anchor for _, _, cards in chosen for entry in cards}
        bundle = self._origin.get("bundle", {})
        parts = {
            "NAME": bundle.get("name", ""), "VERSION": bundle.get("version", ""), "DIGEST": bundle.get("digest", ""),
            "ENGINE": f"{self._origin.get('engine', '')} {self._origin.get('precision', '')}",
            "TITLE": self._title(),
            "WHEN": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }  # fmt: skip
        parts = {key: html.escape(str(value)) for key, value in parts.items()}
        parts |= {
            "FACTS": "".join(f"<div><b>{value}</b>{name}</div>" for name, value in self._facts()),
            "MAP": self._map(shown),
            "HEADS": "".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in HEADS),
            "ROWS": "".join(
                f"<tr>{_cell(entry.source, _linked(entry, shown, html.escape(entry.name)))}{entry.row}</tr>"
                for entry in self._entries
            ),
            "SECTIONS": self._sections(chosen),
        }
        text = resources.files("kdlight_edge.survey").joinpath("pages", "report.html").read_text(encoding="utf-8")
        # In one go, so that a picture called {{ROWS}} is only a name.
        return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], text)

    def _title(self) -> str:
        done, listed = len(self._entries), self._listed
        many = "picture" if listed == 1 else "pictures"
        return f"{listed:,} {many}" if done == listed else f"{done:,} of {listed:,} {many}; it ended before the others"

    def _facts(self) -> list[tuple[str, str]]:
        kinds = Counter(entry.kind for entry in self._entries)
        judged, whole = sum(entry.judged for entry in self._entries), sum(entry.whole for entry in self._entries)
        found = sum(entry.found for entry in self._entries)
        bands = [entry.band for entry in self._entries if entry.band is not None]
        return [
            ("with findings", f"{kinds['found']:,}"),
            ("inspected and clean", f"{kinds['clean']:,}"),
            ("not judged or not read", f"{kinds['unjudged'] + kinds['unreadable']:,}"),
            (f"judged of {whole / 1e6:,.0f} megapixels", f"{100 * judged / whole if whole else 0:.1f} %"),
            ("of the judged area covered", f"{100 * found / judged if judged else 0:.2f} %"),
            ("longest run", f"{max((entry.run for entry in self._entries), default=0):,.0f} px"),
            ("highest band", f"{max(bands)}" if bands else "none"),
        ]

    def _chosen(self) -> list[tuple[str, list[_Entry], list[_Entry]]]:
        """Return each section's title, its surfaces, and those of them that have a card."""
        titles = {
            "found": "Findings", "clean": "Inspected and found clean", "unjudged": "Not judged",
            "unreadable": "Not read",
        }  # fmt: skip
        chosen, left = [], CARDS
        for kind, title in titles.items():
            entries = sorted((entry for entry in self._entries if entry.kind == kind), key=lambda e: -e.weight)
            if entries:
                chosen.append((title, entries, entries[:left]))
                left -= min(left, len(entries))
        return chosen

    def _sections(self, chosen: list[tuple[str, list[_Entry], list[_Entry]]]) -> str:
        text = ""
        for title, entries, cards in chosen:
            text += f'<h2>{title} ({len(entries):,})</h2><div class="cards">'
            text += "".join(entry.card for entry in cards) + "</div>"
            if len(entries) > len(cards):
                text += f'<p class="soft">The table has {len(entries) - len(cards):,} more.</p>'
        return text + self._skipped()

    def _skipped(self) -> str:
        total: Counter[str] = Counter()
        for entry in self._entries:
            total.update(entry.skipped)
        tiles = sum(entry.tiles for entry in self._entries)
        if not total:
            return f'<h2>What was not judged</h2><p class="soft">All of {tiles:,} tiles were judged.</p>'
        rows = "".join(f"<tr><td>{name}</td><td>{n:,}</td><td>{n / tiles:.1%}</td></tr>" for name, n in total.items())
        return (
            '<h2>What was not judged, and why</h2><div class="table"><table><thead><tr>'
            '<th><button type="button">Reason</button></th>'
            f'<th><button type="button">Tiles of {tiles:,}</button></th><th><button type="button">Share</button></th>'
            "</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _map(self, shown: Collection[str]) -> str:
        """Draw the places to scale, north up; empty where no picture has one."""
        placed = [entry for entry in self._entries if entry.place is not None]
        if not placed:
            return '<h2>Map</h2><p class="soft">No picture knows where it was taken (EXIF GPS or a georeference).</p>'
        places = [entry.place for entry in placed if entry.place is not None]
        x, y, scale = _projected(places)
        dots = ""
        for entry, a, b in zip(placed, x, y, strict=True):
            dot = f'<circle class="{entry.colour}" cx="{a:.1f}" cy="{b:.1f}" r="8">'
            dots += _linked(entry, shown, f"{dot}<title>{html.escape(entry.name)}</title></circle>")
        metres = _round_length(WIDE / 5 / scale)
        bar = metres * scale
        words = f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"  # noqa: PLR2004 - metres of a kilometre
        ruler = f'<path d="M{EDGE / 2} {TALL - 12}h{bar:.1f}"/><text x="{EDGE / 2}" y="{TALL - 18}">{words}</text>'
        north = f'<path d="M{WIDE - 20} 44V14m-6 9l6-9l6 9"/><text x="{WIDE - 24}" y="60">N</text>'
        lost = len(self._entries) - len(placed)
        note = f'<p class="soft small">{lost:,} without a place.</p>' if lost else ""
        svg = f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="Map">{dots}{ruler}{north}</svg>'
        return f'<h2>Map</h2><div class="map">{svg}</div>{note}'


def _cell(key: object, text: str) -> str:
    return f'<td data-key="{html.escape(str(key))}">{text}</td>'


def _linked(entry: _Entry, shown: Collection[str], text: str) -> str:
    """Let a text lead to the card of a surface, or to its overlay where the page has no card of it."""
    address = f"#{entry.anchor}" if entry.anchor in shown else entry.picture
    return f'<a href="{address}">{text}</a>' if address else text


def _projected(places: Sequence[tuple[float, float]]) -> tuple[list[float], list[float], float]:
    """Return x and y on the map and its units a metre; a plane at the middle latitude, right for one site."""
    middle = sum(latitude for _, latitude in places) / len(places)
    narrow = max(0.01, math.cos(math.radians(middle)))
    east = [longitude * METRES * narrow for longitude, _ in places]
    north = [latitude * METRES for _, latitude in places]
    across, down = max(east) - min(east), max(north) - min(north)
    scale = min((WIDE - 2 * EDGE) / max(across, 10.0), (TALL - 2 * EDGE) / max(down, 10.0))
    x0, y0 = (max(east) + min(east)) / 2, (max(north) + min(north)) / 2
    return [WIDE / 2 + (e - x0) * scale for e in east], [TALL / 2 - (n - y0) * scale for n in north], scale


def _round_length(metres: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is no more."""
    power = 10.0 ** math.floor(math.log10(metres))
    return next(power * lead for lead in (5, 2, 1) if power * lead <= metres or lead == 1)


def _place(surface: Surface) -> tuple[float, float] | None:
    if surface.georeference is not None and surface.survey is not None:
        return surface.georeference.lonlat(surface.survey.grid.width / 2, surface.survey.grid.height / 2)
    taken = surface.taken
    return None if taken.longitude is None or taken.latitude is None else (taken.longitude, taken.latitude)


def _colour(band: int | None, bands: Sequence[float]) -> str:
    """Return the class of a dot: green for the first band, red for the last."""
    if band is None:
        return "kn"
    return f"k{math.ceil(3 * band / max(1, len(bands)))}"


def _words(surface: Surface) -> str:
    return "not judged" if surface.band is None else f"{surface.band} ({band_name(surface.bands, surface.band)})"


def _number(value: float | None, form: str) -> tuple[object, str]:
    return ("", "") if value is None else (round(value, 6), form.format(value))


def _counts(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in skipped.items())
