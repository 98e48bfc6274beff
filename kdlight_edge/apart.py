"""Folders that are read together: none is another one or lies in it, or its pictures would count twice."""

import os
from collections.abc import Sequence
from pathlib import Path

from kdlight_edge.errors import UsageError

Given = Sequence[tuple[Path, Sequence[Path]]]
"""What a person named, and the folders (or the file) that are read for it, which are not held against one another."""


def check_apart(given: Given) -> None:
    """Refuse what would be read twice: by one name, by two spellings, by a link.

    Raises:
        UsageError: a folder that is read for one is, or lies in, one that is read for another.
    """
    if found := read_twice(given):
        folder, one, other = found
        raise UsageError(f"the pictures of {folder} would count twice, by {one} and by {other}; give them once")


def read_twice(given: Given) -> tuple[Path, Path, Path] | None:
    """Return a folder that would be read twice, and for which two; None where there is none."""
    seen: dict[Path, Path] = {}
    for name, folders in given:
        real = {Path(os.path.realpath(folder)): folder for folder in folders}
        for place, folder in real.items():
            for around in (place, *place.parents):
                if around in seen:
                    return folder, seen[around], name
        for place, other in seen.items():
            if not real.keys().isdisjoint(place.parents):
                return place, other, name
        seen |= dict.fromkeys(real, name)
    return None
