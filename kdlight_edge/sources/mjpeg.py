"""A network camera that sends JPEG after JPEG over HTTP (multipart/x-mixed-replace).

Read here and not by FFmpeg, which shows the half of a picture that came before the cable was pulled, filled up with
old pixels, as if it were whole.
"""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import cast

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Moment
from kdlight_edge.sources import Patience, Source, opencv
from kdlight_edge.sources.address import login, without_login, without_password
from kdlight_edge.sources.http_body import ROOM, Body
from kdlight_edge.sources.http_login import Digest
from kdlight_edge.sources.reconnect import Feed, keep_reading

MAX_PART = 64 << 20
"""Bytes of one picture above which the stream is refused."""

MAX_HEAD = 16 << 10
"""Bytes of a part's header above which this is no MJPEG stream."""

FIRST_ROOM = 256 << 10
"""Bytes of the buffer at first; it grows with the pictures."""

_END_OF_HEAD = re.compile(rb"\r\n\r\n")
_LENGTH = re.compile(rb"^content-length:\s*(\d{1,12})\s*$", re.IGNORECASE | re.MULTILINE)
_LONGEST_MARK = 128
"""A delimiter has 70 characters at most (RFC 2046), and a few around it."""


class Mjpeg:
    """An open HTTP answer made of parts: one `Feed`."""

    def __init__(self, answer: HTTPResponse, stall_timeout: float) -> None:
        self._answer = answer
        self._body = Body(answer)
        self._stall_timeout = stall_timeout
        self._buffer = memoryview(bytearray(FIRST_ROOM))
        """What was read and not used yet lies from ``_begin`` to ``_end``."""
        self._begin = self._end = 0
        self._deadline = 0.0
        self._delimiter: re.Pattern[bytes] | None = None
        """The line between parts, as the first one is written: what headers say of it differs from camera to camera."""

    def read(self) -> tuple[npt.NDArray[np.uint8] | bytes | str, Moment]:
        """Wait for the next whole picture; see `Feed.read`."""
        self._deadline = time.monotonic() + self._stall_timeout
        return self._part(), Moment.now()

    def _part(self) -> bytes:
        """Return the body of the next part (RFC 2046, section 5.1), by its length or else up to the next boundary."""
        head = self._take(self._find(_END_OF_HEAD, MAX_HEAD)).lstrip()
        self._begin += 4
        if self._delimiter is None:
            self._delimiter = re.compile(rb"\r\n" + re.escape(head.split(b"\r\n", 1)[0]))
        told = _LENGTH.search(head)
        length = int(told[1]) if told else self._find(self._delimiter, MAX_PART)
        if told and length > MAX_PART:
            raise SourceError(f"a part of {length:,} bytes, more than {MAX_PART:,}: not a picture")
        while self._end - self._begin < length:
            self._more(length)
        return self._take(length)

    def _take(self, length: int) -> bytes:
        """Return the next bytes of the buffer, which is rewound once it is empty."""
        content = bytes(self._buffer[self._begin : self._begin + length])
        self._begin += length
        return content

    def _find(self, mark: re.Pattern[bytes], limit: int) -> int:
        """Return how many bytes come before a mark, reading on until it is there."""
        start = 0
        while (found := mark.search(self._buffer, self._begin + start, self._end)) is None:
            there = self._end - self._begin
            if there > limit:
                raise SourceError(f"no end of a part within {limit:,} bytes: not an MJPEG stream")
            start = max(0, there - _LONGEST_MARK)
            self._more(there + 1)
        return found.start() - self._begin

    def _more(self, needed: int) -> None:
        """Read on what is there; ``needed`` bytes in all have room."""
        if time.monotonic() > self._deadline:
            raise SourceError(f"no whole frame for {self._stall_timeout:g} s")
        self._make_room(needed)
        try:
            count = self._body.read_into(self._buffer[self._end :])
        except TimeoutError as error:
            raise SourceError(f"no frame for {self._stall_timeout:g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"the connection broke: {error}") from error
        if not count:
            raise SourceError("the camera closed the connection")
        self._end += count

    def _make_room(self, needed: int) -> None:
        """Move what is there to the front where that is little or has to be, and take more memory where it is short."""
        there = self._end - self._begin
        if self._begin and (there < _LONGEST_MARK or self._begin + needed + ROOM > len(self._buffer)):
            self._buffer[:there] = self._buffer[self._begin : self._end]
            self._begin, self._end = 0, there
        if needed + ROOM > len(self._buffer):
            longer = memoryview(bytearray(len(self._buffer) + needed + ROOM))
            longer[:there] = self._buffer[:there]
            self._buffer = longer

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Source:
    """Open an HTTP stream; one that is not MJPEG (a video file, HLS) is left to OpenCV.

    Raises:
        SourceError: nobody answers, or with an error (and ``patience.at_start`` is not set).
    """
    name = without_password(uri)
    return keep_reading(name, lambda: _opened(uri, name, patience), patience, report)


def _opened(uri: str, name: str, patience: Patience) -> Feed:
    """Connect, and look each time at what it sends: another firmware may have made it another camera."""
    answer = _get(uri, name, patience)
    if _is_mjpeg(answer, name):
        return Mjpeg(answer, patience.stall_timeout)
    answer.close()
    return opencv.stream(uri, patience)


def _is_mjpeg(answer: HTTPResponse, name: str) -> bool:
    """Tell by the header, or where that is silent by the first bytes: parts begin with two dashes."""
    if answer.headers.get_content_maintype() == "multipart":
        return True
    try:
        return answer.peek(8).lstrip().startswith(b"--")
    except (OSError, HTTPException) as error:
        answer.close()
        raise SourceError(f"{name} answers and sends nothing ({error}); see what the camera is set to") from error


def _get(uri: str, name: str, patience: Patience) -> HTTPResponse:
    """Ask for a stream, with the URI's user and password where the camera wants them."""
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(passwords),
        Digest(passwords),
        urllib.request.ProxyHandler({}),  # a camera stands in the local network
    )
    asked, given = without_login(uri), login(uri)
    try:
        if given is not None:
            passwords.add_password(None, asked, *given)
        return cast("HTTPResponse", opener.open(asked, timeout=patience.stall_timeout))
    except urllib.error.HTTPError as error:
        error.close()
        advice = "see its path"
        if error.code == HTTPStatus.UNAUTHORIZED:
            advice = "write USER:PASSWORD@ before the host" if given is None else "see the user and password"
        raise SourceError(f"{name} answers {error.code} {error.reason}; {advice}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SourceError(f"no stream at {name} ({reason}); see that it is on and reachable from here") from error
