"""What the page's server answers: a literal table of paths, each to its method; nothing else exists."""

import functools
import http.server
import importlib.resources
import json
import math
import time
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from kdlight_edge.web.server import IDLE_SECONDS, REQUEST_SECONDS, SEND_SECONDS, Server, Sips

if TYPE_CHECKING:
    from kdlight_edge.sinks.web import Web

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
OPEN = frozenset({"/page.css", "/icon.svg", "/enter"})
"""What is shown without the token: the form that asks for it."""

BODY_BYTES = 512
"""Of the form."""

EVERY = 0.5
"""Seconds between two sets of figures."""

WRONG_SECONDS = 1.0
"""How long a wrong token waits for its answer."""


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    server: "PageServer"
    protocol_version = "HTTP/1.1"
    server_version = "kdlight-edge"
    sys_version = ""
    timeout = SEND_SECONDS

    def setup(self) -> None:
        """Count what is read."""
        super().setup()
        self.rfile: Any = Sips(self.rfile)
        self._visit = self.server.visit(self.connection)
        self.connection.settimeout(IDLE_SECONDS)

    def handle_one_request(self) -> None:
        """Give each request its budget of bytes and its time."""
        self.rfile.begin()
        super().handle_one_request()
        self._visit.deadline = time.monotonic() + IDLE_SECONDS

    def parse_request(self) -> bool:
        """Read the headers within their time, and refuse what no browser sends."""
        self._visit.deadline = min(self._visit.deadline or math.inf, time.monotonic() + REQUEST_SECONDS)
        if not super().parse_request():
            return False
        self.connection.settimeout(SEND_SECONDS)
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or (self.command == "GET" and length != "0"):
            self.send_error(HTTPStatus.BAD_REQUEST, "a body does not belong here")
            return False
        if self.request_version != "HTTP/1.1":
            self.close_connection = True
        self._visit.deadline = None if self.command in {"GET", "HEAD"} else self._visit.deadline
        return self._may_pass()

    def _may_pass(self) -> bool:
        door, path = self.server.page.door, self.path.partition("?")[0]
        if not door.accepts_host(self.headers.get("Host")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this page is for http://127.0.0.1 only, see --web-token")
            return False
        if path != "/" and self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            self.send_error(HTTPStatus.FORBIDDEN, "other pages may not ask")
            return False
        if path not in OPEN and not door.lets_in(self.headers):
            if path == "/" and self.command == "GET":
                self._say(HTTPStatus.UNAUTHORIZED, *_file("enter.html", "text/html; charset=utf-8"))
            else:
                self.send_error(HTTPStatus.UNAUTHORIZED, "the token is missing")
            return False
        return True

    def do_GET(self) -> None:
        """Hand out a file of the page, a picture, or figures."""
        path, _, query = self.path.partition("?")
        if path in FILES:
            self._say(HTTPStatus.OK, *_file(*FILES[path]))
        elif path == "/figures":
            self._say(HTTPStatus.OK, json.dumps(self.server.page.figures()).encode(), "application/json")
        elif path == "/events":
            self._events()
        elif path.startswith("/picture/"):
            self._picture(path, query)
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "there is nothing here")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def do_POST(self) -> None:
        """Take the token from the form and give a cookie for it."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/enter" or (_number(length) or BODY_BYTES + 1) > BODY_BYTES:
            self.send_error(HTTPStatus.BAD_REQUEST, "nothing is sent here but a token")
            return
        form = urllib.parse.parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        door = self.server.page.door
        if not door.token or not door.accepts_token(form.get("token", [""])[0].strip()):
            self.server.page.closed.wait(WRONG_SECONDS)
            self._say(HTTPStatus.UNAUTHORIZED, *_file("enter.html", "text/html; charset=utf-8"))
            return
        cookie = f"{door.cookie}={door.key}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
        self._say(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": "./", "Set-Cookie": cookie})

    def _picture(self, path: str, query: str) -> None:
        asked = dict(urllib.parse.parse_qsl(query))
        number = _number(path.removeprefix("/picture/"))
        view = None if number is None else self.server.page.view(number)
        if view is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such source")
            return
        self.server.page.look()
        made = view.jpeg(heat=asked.get("heat") == "1")
        if made is None or str(made[0]) == asked.get("after"):
            self._say(HTTPStatus.NO_CONTENT, b"", "image/jpeg")
        else:
            self._say(HTTPStatus.OK, made[1], "image/jpeg", {"X-Frame-Index": str(made[0])})

    def _events(self) -> None:
        """Send figures for as long as they are read (server-sent events)."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self._headers("text/event-stream; charset=utf-8", {"Connection": "close"})
        page = self.server.page
        seen: dict[int, int] = {}
        while self.command == "GET" and not page.closed.is_set():
            figures = page.figures(seen)
            self.wfile.write(b"data: " + json.dumps(figures).encode() + b"\n\n")
            page.closed.wait(EVERY)

    def _say(self, status: HTTPStatus, body: bytes, kind: str, more: "dict[str, str] | None" = None) -> None:
        self.send_response(status)
        length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
        self._headers(kind, {**length, **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _headers(self, kind: str, more: "dict[str, str]") -> None:
        for name, value in {"Content-Type": kind, **HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in one plain line that repeats nothing of what was asked, and end the connection."""
        del explain
        status = HTTPStatus(code)
        own = message if message and message.islower() and message.isascii() else status.phrase.lower()
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self._say(status, f"{own}\n".encode(), "text/plain; charset=utf-8", {"Connection": "close"})

    def log_message(self, *_: Any) -> None:
        """Say nothing: what is asked for may hold a token, and a line a picture would fill the journal."""


class PageServer(Server):
    """The server with what it shows."""

    def __init__(self, page: "Web") -> None:
        self.page = page
        super().__init__((page.door.host, page.door.port), Answers)


def _number(text: str) -> int | None:
    """Return a small number as plain digits say it; None for anything else that Python would read, or choke on."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - digits


@functools.cache
def _file(name: str, kind: str) -> tuple[bytes, str]:
    """Return a file of the page; read once."""
    return importlib.resources.files("kdlight_edge.web").joinpath("page", name).read_bytes(), kind
