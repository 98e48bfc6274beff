"""The pages of docs/: what only a reader would notice, and `scripts/pages.py` does not write."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)\n\s*(?:(?=(#+) )|\Z)", re.MULTILINE)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_heading_has_something_below_it(page: Path) -> None:
    text = FENCED.sub("code", page.read_text(encoding="utf-8"))
    # A deeper heading below is something.
    assert [name for level, name, below in HEADING.findall(text) if len(below) <= len(level)] == []
