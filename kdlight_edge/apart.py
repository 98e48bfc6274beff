"""Folders that are read together: none is another one or lies in it, or its pictures would count twice."""

import os
from collections.abc import Sequence
from pathlib import Path

from kdlight_edge.errors import UsageError


def check_apart(given: Sequence[tuple[Path, Sequence[Path]]]) -> None:
    """Refuse what would be read twice: by one name, by two spellings, by a link.

    Args:
        given: what a person named, and the folders (or the file) that are read for it, which are not held against one
            another.

    Raises:
        UsageError: a folder that is read for one is, or lies in, one that is read for another.
    """
    seen: dict[Path, Path] = {}
    for name, folders in given:
        real = {Path(os.path.realpath(folder)): folder for folder in folders}
        for place, folder in real.items():
            _refuse(name, folder, [seen[one] for one in (place, *place.parents) if one in seen])
        for place, other in seen.items():
            _refuse(name, place, [other] if not real.keys().isdisjoint(place.parents) else [])
        seen |= dict.fromkeys(real, name)


def _refuse(name: Path, folder: Path, others: Sequence[Path]) -> None:
    if others:
        raise UsageError(f"the pictures of {folder} would count twice, by {others[0]} and by {name}; give them once")
