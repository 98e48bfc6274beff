"""Names as others take them: of letters that every disk and broker has, and of places on the network."""

import hashlib
import re
from pathlib import Path

from kdlight_edge.errors import KDLightError

LONGEST = 100
"""Letters of a name: a disk takes 255 in all, and more than one stands in a name there."""


def plain(text: str) -> str:
    """Return a text in letters, digits, ``_`` and ``-``, of `LONGEST` at most; two texts may give the same."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:LONGEST]


def told_apart(text: str, joint: str) -> str:
    """Return `plain`, and where that is not the text itself ``joint`` and a hash of it: no two texts give the same."""
    found = plain(text)
    if found == text:
        return found
    return f"{found}{joint}{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def stamped(when: str, index: int) -> str:
    """Return a time in ISO 8601 and the number of a frame as a name: the names of one camera stand in their order."""
    return f"{re.sub(r'[:.]', '', when)}-{index:08}"


def home_of(instead: str) -> Path:
    """Return the home of this user.

    Raises:
        KDLightError: there is none, as of a bare number in a container; ``instead`` is what to name.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise KDLightError(f"this user has no home folder; set HOME or {instead}") from error


def place_of(host: str, port: int) -> str:
    """Return ``HOST:PORT`` as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
