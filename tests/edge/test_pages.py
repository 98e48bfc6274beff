"""The pages of docs/: what only a reader would notice, and `scripts/pages.py` does not write."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
MARKS = re.compile(r"\[([^\]]*)\]\([^)]*\)|[^\w\- ]")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)\n\s*(?:(?=(#+) )|\Z)", re.MULTILINE)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_heading_has_something_below_it(page: Path) -> None:
    text = FENCED.sub("code", page.read_text(encoding="utf-8"))
    # A deeper heading below is something.
    assert [name for level, name, below in HEADING.findall(text) if len(below) <= len(level)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("code", page.read_text(encoding="utf-8"))):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are linked by: lower case, no marks, hyphens for blanks."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("code", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {MARKS.sub(r"\1", heading.strip().lower()).replace(" ", "-") for heading in headings}
