"""What ``dicom://HOST:PORT?...`` asks for, read strictly."""

import re
import urllib.parse
from dataclasses import dataclass

from kdlight_edge.errors import UsageError

FORM = "dicom://0.0.0.0:11112?aet=KDLIGHT&allow=SCANNER1,SCANNER2&associations=16&queue=8"

_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
"""An application entity title (PS3.5, 6.2): 1 to 16 characters of ASCII without a backslash."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and to whom."""

    host: str
    port: int
    """0 for any that is free."""
    aet: str | None = None
    """Our title, which a caller must call; None answers to any."""
    allow: tuple[str, ...] = ()
    """Titles that may call; empty for any."""
    associations: int = 16
    """Callers at a time."""
    queue: int = 8
    """Objects that wait to be classified; one more is sent back with ``out of resources``."""


def read_listen(uri: str) -> Listen:
    """Read a listener's URI.

    Raises:
        UsageError: a part is missing, unknown or out of range.
    """
    # A title may have a # in it: cut off there, the titles that may call would be lost without a word.
    parts = urllib.parse.urlsplit(uri, allow_fragments=False)
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs):
        raise UsageError(f"{uri}: an option is given twice; titles that may call stand in one list, allow=A,B")
    if given.get("allow") == "":
        raise UsageError(f"{uri}: allow names nobody; name titles that may call, or leave it out for anyone")
    try:
        port = parts.port
        associations, queue = int(given.pop("associations", "16")), int(given.pop("queue", "8"))
    except ValueError as error:
        raise UsageError(f"{uri}: {error}; write it like {FORM}") from error
    aet = given.pop("aet", None)
    allow = tuple(title for title in given.pop("allow", "").split(",") if title)
    if given:
        raise UsageError(f"{uri}: unknown option {', '.join(given)}; there are aet, allow, associations and queue")
    if not parts.hostname or port is None or parts.path not in {"", "/"}:
        raise UsageError(f"{uri} names no address and port to listen on; write it like {FORM}")
    if not (1 <= associations <= 1000 and 1 <= queue <= 1000):  # noqa: PLR2004 - each holds an object in memory
        raise UsageError(f"{uri}: associations and queue are 1 to 1000")
    for title in (*allow, *([aet] if aet is not None else [])):
        check_title(title)
    return Listen(parts.hostname, port, aet, allow, associations, queue)


def check_title(title: str) -> str:
    """Return an application entity title.

    Raises:
        UsageError: it is none.
    """
    if not _TITLE.fullmatch(title):
        raise UsageError(f"{title!r} is no application entity title: 1 to 16 letters, no backslash")
    return title
