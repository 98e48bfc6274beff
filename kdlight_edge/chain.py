"""A chain of lines, each sealed with the hash of the one before: a line edited, removed or moved breaks it.

A line is ``{"n":17,"prev":"HASH","record":{...},"hash":"HASH"}`` in ASCII. Its hash is taken over all its bytes before
``,"hash"``, with SHA-256, or with HMAC-SHA-256 (RFC 2104) where there is a key. Without a key the chain shows
accidents and careless edits; who may write the file can seal all of it anew. With a key only its holder can.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.rotate import earlier

BEGIN = "0" * 64
"""What stands for the hash of the line before the first."""

SMALLEST_KEY = 16
"""Bytes a key has at least."""

_LINE = re.compile(rb'(\{"n":(\d{1,18}),"prev":"([0-9a-f]{64})","record":.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain ends, or one line in it."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in an audit."""

    lines: int
    first: int
    """Number of the first line; above 1 where older files were moved elsewhere."""
    last: Link
    fault: str
    """What breaks the chain, for people; empty when nothing does."""
    torn: int
    """Bytes of a last line without an end: what a kill or a power cut leaves."""
    closed: bool
    """Whether the last line says that the run ended by itself."""
    has_head: bool
    """Whether the hash that was asked for is the hash of a line."""
    lost: int = 0
    """Results that the lines themselves say are missing: the disk was full or too slow."""


def seal(before: Link, record: Mapping[str, Any], key: bytes) -> tuple[str, Link]:
    """Return the line that follows ``before``, without its end, and its link."""
    body = f'{{"n":{before.number + 1},"prev":"{before.hash}","record":{json.dumps(record)}'
    found = digest(body.encode("ascii"), key)
    return f'{body},"hash":"{found}"}}', Link(before.number + 1, found)


def digest(body: bytes, key: bytes) -> str:
    """Return the hash of a line's bytes before ``,"hash"``, 64 hexadecimal digits; an empty key means none."""
    return (hmac.new(key, body, hashlib.sha256) if key else hashlib.sha256(body)).hexdigest()


def read_key(path: str) -> bytes:
    """Return the key in a file, without the line end that an editor puts there.

    Raises:
        KDLightError: it cannot be read or is shorter than `SMALLEST_KEY`.
    """
    try:
        key = Path(path).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise KDLightError(f"the key {path} cannot be read: {error.strerror}") from error
    if len(key) < SMALLEST_KEY:
        raise KDLightError(
            f"the key {path} has {len(key)} bytes, {SMALLEST_KEY} are the least; openssl rand -hex 32 makes one"
        )
    return key


def last_link(path: Path, key: bytes) -> Link:
    """Return the link that the next line of an audit follows.

    Raises:
        KDLightError: the last line is not what a program with this key wrote.
    """
    for file in (path, *reversed(earlier(path))):
        if line := _last_line(file):
            match = _LINE.fullmatch(line)
            if match is None or not hmac.compare_digest(digest(match[1], key), match[4].decode()):
                raise KDLightError(
                    f"{file} ends with a line that was not sealed with this key, or not by this program; "
                    "kdlight-edge audit verify tells more, another --audit begins anew"
                )
            return Link(int(match[2]), match[4].decode())
    return Link(0, BEGIN)


def _last_line(file: Path) -> bytes:
    """Return the last whole line of a file; empty where there is none, or no file."""
    if not file.exists():
        return b""
    with file.open("rb") as content:
        size, held = content.seek(0, 2), b""
        while size > 0 and held[:-1].count(b"\n") == 0:
            start = max(0, size - (64 << 10))
            content.seek(start)
            held = content.read(size - start) + held
            size = start
    whole = held[: held.rfind(b"\n") + 1]
    return whole[:-1].rpartition(b"\n")[2]


def verify(path: Path, key: bytes, head: str = "", *, partial: bool = False) -> Verdict:
    """Follow a chain through its files, the full ones first, to its end or to the first fault.

    Args:
        path: the file that is written, or was last.
        key: empty for a chain without one.
        head: a hash noted earlier; the verdict tells whether its line is still there.
        partial: let it begin with another line than the first, because older files were moved away.

    Raises:
        KDLightError: a file cannot be read, or there is no line in it.
    """
    lines = _lines(path)
    count, first, torn, closed, seen, fault, link = 0, 0, 0, False, head == "", "", Link(0, BEGIN)
    lost = 0
    for where, line, whole in lines:
        if not whole:
            torn = len(line)
            continue
        if torn:
            fault, torn = f"{where}: the line before it has no end, which a kill leaves only at the very end", 0
            break
        match = _LINE.fullmatch(line)
        fault = _fault(match, link, key, begun=count > 0, partial=partial)
        if fault or match is None:
            fault = f"{where} {fault}{_explained(match, link, lines)}"
            break
        link = Link(int(match[2]), match[4].decode())
        count, first, seen = count + 1, first or link.number, seen or link.hash == head
        closed = b'"event": "close"' in line
        lost += _lost(match[1]) or 0
    if not count and not torn and not fault:
        raise KDLightError(f"{path} holds no line; name the file that --audit wrote")
    return Verdict(count, first, link, fault, torn, closed, seen, lost)


def _lost(body: bytes) -> int | None:
    """Return how many results a line, before its hash, says are missing before it; None where it does not say that."""
    if b'"record":{"event": "gap"' not in body:
        return 0
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        counts = json.loads(body + b"}")["record"]["lost"].values()
        return sum(counts) if all(type(count) is int and count >= 0 for count in counts) else None
    return None


def _fault(match: re.Match[bytes] | None, before: Link, key: bytes, *, begun: bool, partial: bool) -> str:
    """Return what is wrong with a line that should follow ``before``; empty for nothing."""
    if match is None:
        return "is not a line of an audit: edited, or written by something else"
    number, previous = int(match[2]), match[3].decode()
    if not hmac.compare_digest(digest(match[1], key), match[4].decode()):
        hint = "" if begun else ", or the chain has another key"
        return f"was edited: its hash does not belong to its content (number {number}){hint}"
    if _lost(match[1]) is None:  # without a key anybody can seal a line
        return f"says that results are missing, and not how many (number {number}): written by something else"
    if not begun and partial:
        return ""
    if number != before.number + 1:
        return f"has number {number} where {before.number + 1} should be"
    return "" if previous == before.hash else f"does not follow the line before it (number {number}): one was replaced"


def _explained(match: re.Match[bytes] | None, before: Link, rest: Iterable[tuple[str, bytes, bool]]) -> str:
    """Tell a removed line from a moved one by looking for it in what follows."""
    if match is None or int(match[2]) == before.number + 1:
        return ""
    number, wanted = int(match[2]), before.number + 1
    if number < wanted:
        return ": repeated, or moved from its place"
    matches = (_LINE.fullmatch(line) for _, line, _ in rest)
    if any(found is not None and int(found[2]) == wanted for found in matches):
        return f": line {wanted} was moved behind it"
    return f": {number - wanted:,} removed before it" + (", or in files moved away (--partial)" if wanted == 1 else "")


def _lines(path: Path) -> Iterator[tuple[str, bytes, bool]]:
    """Yield each line with its place, without its end, and whether it had one.

    A run that writes the audit may put its file aside at any moment: the one that has the name now is the last, and
    what is begun after it is not looked for.
    """
    with _opened(path) as last:
        for file in earlier(path):
            with _opened(file) as content:
                if os.path.samestat(os.fstat(content.fileno()), os.fstat(last.fileno())):
                    break
                yield from _lines_of(content, file)
        yield from _lines_of(last, path)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as content:
            yield content
    except OSError as error:
        raise KDLightError(f"{file} cannot be read: {error.strerror}; name the file that --audit wrote") from error


def _lines_of(content: BinaryIO, file: Path) -> Iterator[tuple[str, bytes, bool]]:
    for count, line in enumerate(content, 1):
        yield f"{file} line {count}", line.rstrip(b"\n"), line.endswith(b"\n")
