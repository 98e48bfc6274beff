"""Predictions to a web server: one JSON object a POST, tried again with patience; belongs behind an `Outbox`."""

import base64
import contextlib
import http.client
import json
import os
import secrets
import socket
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from kdlight_edge import __version__
from kdlight_edge.decide import Prediction, to_record
from kdlight_edge.errors import UsageError
from kdlight_edge.events import Event
from kdlight_edge.events import to_record as event_record
from kdlight_edge.frame import Frame
from kdlight_edge.sinks.outbox import HURRY, Undelivered
from kdlight_edge.sources import Patience, tell
from kdlight_edge.sources.address import without_password

TOKEN = "KDLIGHT_WEBHOOK_TOKEN"  # noqa: S105 - the name of an environment variable, not its value
"""Where a bearer token is taken from: a command line is seen by everybody on the machine."""

TIMEOUT = 10.0
"""Seconds of silence after which a server counts as hanging."""

ATTEMPTS = 8
"""How often one prediction is tried: with waits of 1, 2, 4 ... 30 s about a minute and a half for a server that
answers with an error. A server that cannot be reached at all is tried for as long as it takes."""

_LATER = frozenset({408, 425, 429})
"""The refusals (4xx) that mean: not now (RFC 9110, 8470, 6585)."""

_OK, _REDIRECT, _REFUSED, _BROKEN = 200, 300, 400, 500


class Webhook:
    """Posts each prediction and waits for the answer.

    Every request carries an ``Idempotency-Key`` that stays the same when it is repeated, so that a receiver whose
    answer was lost can tell. 2xx is a delivery; 3xx and 4xx are final, except those that mean "not now"; 5xx is tried
    again.
    """

    wants_frames = False

    def __init__(
        self,
        url: str,
        origin: Mapping[str, Any],
        *,
        patience: Patience | None = None,
        timeout: float = TIMEOUT,
        report: Callable[[str], None] = tell,
    ) -> None:
        """Read the URL; nothing is sent yet.

        Raises:
            UsageError: it is not a URL of http or https, or the token cannot be in a header.
        """
        parts = _split(url)
        # Of the rest a receiver often makes its secret: whoever has the path of a chat's webhook writes there.
        self._name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._origin = origin
        self._patience = patience or Patience()
        self._report = report
        self._run = secrets.token_hex(4)
        self._count = 0
        self._lost = False
        self._closed, self._using = threading.Event(), threading.Lock()
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._headers = {
            "Content-Type": "application/json", "User-Agent": f"kdlight-edge/{__version__}", **_authority(parts),
        }  # fmt: skip

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Post one prediction, again and again where that may help.

        Raises:
            Undelivered: ``refused`` by the server, ``failed`` in all attempts, or given up by `close`.
        """
        del frame
        self._deliver(to_record(prediction, self._origin))

    def tell(self, event: Event) -> None:
        """Post one event, told apart by its schema; raises as `write`."""
        self._deliver({**event_record(event), **self._origin})

    def _deliver(self, record: Mapping[str, Any]) -> None:
        self._count += 1
        body = json.dumps(record).encode("ascii")
        headers = {**self._headers, "Idempotency-Key": f"{self._run}-{self._count}"}
        wait, answers = self._patience.first_wait, 0
        while not self._closed.is_set():
            with self._using:
                trouble, answered = self._post(body, headers)
            if not trouble:
                self._back()
                return
            answers += answered
            if answers >= ATTEMPTS:
                raise Undelivered("failed", f"{self._name} {trouble}; given up after {answers} attempts")
            if not self._lost and not self._closed.is_set():
                self._lost = True
                self._report(f"webhook: {self._name} {trouble}; trying again, results wait")
            self._closed.wait(wait)
            wait = min(wait * 2, self._patience.longest_wait)
        raise Undelivered("closing", f"{self._name} had no time left to answer")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
        """Send once; return what went wrong, empty for nothing, and whether it was an answer of the server."""
        try:
            answer = self._answer(body, headers)
            answer.read(1 << 16)
            if not answer.isclosed():
                self._connection.close()  # a body that long is not worth the wait for its end
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return f"does not answer: {_said(error)}", False
        status = f"answers {answer.status} {answer.reason}".rstrip()
        if _OK <= answer.status < _REDIRECT:
            return "", True
        if answer.status < _BROKEN and answer.status not in _LATER:
            self._back()
            more = "; give the address it leads to" if answer.status < _REFUSED else ""
            raise Undelivered("refused", f"{self._name} {status}{more}")
        return status, True

    def _answer(self, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send over the connection that is open, and at once over a new one where the server had closed it."""
        if self._connection.sock is not None:
            try:
                self._connection.request("POST", self._target, body, headers)
                return self._connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                self._connection.close()
                if self._closed.is_set():
                    raise
        self._connection.request("POST", self._target, body, headers)
        return self._connection.getresponse()

    def _back(self) -> None:
        if self._lost:
            self._lost = False
            self._report(f"webhook: {self._name} is back")

    def close(self) -> None:
        """End a delivery that is under way, and the connection."""
        self._closed.set()
        open_socket = self._connection.sock
        if isinstance(open_socket, socket.socket):
            with contextlib.suppress(OSError):  # it was closed in the same moment
                open_socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for an answer
        if self._using.acquire(timeout=HURRY):
            self._connection.close()
            self._using.release()


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and url.isascii() and url.isprintable() and " " not in url
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"--webhook {without_password(url).partition('?')[0]} is not an address; "
            "give http://HOST/PATH or https://HOST/PATH"
        )
    return parts


def _authority(parts: urllib.parse.SplitResult) -> dict[str, str]:
    token = os.environ.get(TOKEN, "").rstrip("\r\n")  # of a file with a secret the end of its line is often left
    if not token.isascii() or not token.isprintable():
        raise UsageError(f"{TOKEN} cannot be sent as a token; set one of plain letters, digits and signs")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if parts.username is None:
        return {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"}


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
