"""A small web server that bad clients cannot hold, for the page and the metrics: a deadline for every request."""

import contextlib
import http.server
import socket
import sys
import threading
import time
from typing import Any

from kdlight_edge.errors import UsageError

CONNECTIONS = 32
"""At once; for one more the one is cut off that has waited longest for its request, else the oldest."""

REQUEST_SECONDS = 5.0
"""For a whole request, however slowly its bytes drip in."""

IDLE_SECONDS = 15.0
"""Between two requests over one connection."""

SEND_SECONDS = 5.0
"""Without progress after which a reader counts as dead."""

HEADER_BYTES = 8192
"""Of a request line and all headers together."""


def address_of(text: str, flag: str, usual: int) -> tuple[str, int]:
    """Read ``[HOST:]PORT``; the host is 127.0.0.1 unless given. The flag and its usual port are for people.

    Raises:
        UsageError: it does not look like that.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port there is
        raise UsageError(f"{flag} {text} is not [HOST:]PORT; give {usual} or 0.0.0.0:{usual}")
    return host.strip("[]") or "127.0.0.1", int(port)


class Visit:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.began = time.monotonic()
        self.deadline: float | None = self.began + REQUEST_SECONDS
        """When it is cut off unless a whole request has come; None while one is being answered."""

    def cut(self) -> None:
        """End it; its thread wakes up and closes it."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Sips:
    """Reads lines until the budget of a request is used up; what comes then looks too long to the parser."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.left = HEADER_BYTES

    def begin(self) -> None:
        """Grant the next request its budget."""
        self.left = HEADER_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line."""
        wanted = self.left + 1 if size is None or size < 0 else min(size, self.left + 1)
        line: bytes = self._inner.readline(wanted)
        self.left -= len(line)
        # http.server answers 414 or 431 to a line as long as it asked for.
        return line if self.left >= 0 else b"x" * (size or 0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a body."""
        content: bytes = self._inner.read(size)
        return content

    def close(self) -> None:
        """Close the connection's file."""
        self._inner.close()


class Server(http.server.ThreadingHTTPServer):
    """Answers each connection in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self._visits: dict[int, Visit] = {}
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def visit(self, connection: socket.socket) -> Visit:
        """Return what is known of a connection that is being answered."""
        with self._lock:
            return self._visits.get(id(connection)) or Visit(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Make room for one more."""
        with self._lock:
            if len(self._visits) >= CONNECTIONS:
                idle = [visit for visit in self._visits.values() if visit.deadline is not None]
                oldest = min(idle or self._visits.values(), key=lambda visit: visit.began)
                del self._visits[id(oldest.connection)]
                oldest.cut()
            self._visits[id(request)] = Visit(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._visits.pop(id(request), None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off whoever is too slow; called twice a second."""
        now = time.monotonic()
        with self._lock:
            for visit in self._visits.values():
                if visit.deadline is not None and now > visit.deadline:
                    visit.cut()

    def cut_all(self) -> None:
        """Let nobody hold up the end."""
        with self._lock:
            for visit in self._visits.values():
                visit.cut()

    def server_bind(self) -> None:
        """Bind without asking the network for our own name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that went away, and all about a fault of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
