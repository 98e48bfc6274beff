"""Who may see the page: this machine alone, or whoever has the token."""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from email.message import Message
from http import cookies
from pathlib import Path

from kdlight_edge.errors import UsageError
from kdlight_edge.web.server import address_of

TOKEN = "KDLIGHT_WEB_TOKEN"  # noqa: S105 - the name of an environment variable, not its value
"""Where the token is taken from without ``--web-token``."""

SHORTEST = 12
"""Characters of a token at least: one that is guessed ten times a second for a year must not be found."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the page is, and what opens it."""

    host: str
    port: int
    token: str = field(default="", repr=False)
    """Empty where nobody but this machine can come."""

    @property
    def cookie(self) -> str:
        """Its name; browsers keep one jar for all ports of a host."""
        return f"kdlight-{self.port}"

    @property
    def key(self) -> str:
        """What the cookie holds: as good as the token here and of no use elsewhere."""
        return hmac.new(self.token.encode(), b"kdlight-edge page", hashlib.sha256).hexdigest()

    def accepts_host(self, host: str | None) -> bool:
        """Tell whether a request's ``Host`` may be: without a token only a name of this machine.

        A page elsewhere whose name was made to point here (DNS rebinding) comes under that name.
        """
        return bool(self.token) or (host is not None and _LOCAL_HOST.fullmatch(host) is not None)

    def accepts_token(self, given: str) -> bool:
        """Compare in a time that tells nothing."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def lets_in(self, headers: Message) -> bool:
        """Tell whether a request carries the token, or the cookie that was given for it."""
        if not self.token:
            return True
        kind, _, given = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.accepts_token(given.strip())
        jar: cookies.SimpleCookie = cookies.SimpleCookie()
        try:
            jar.load(headers.get("Cookie", ""))
        except cookies.CookieError:
            return False
        found = jar.get(self.cookie)
        return found is not None and hmac.compare_digest(found.value.encode("utf-8", "replace"), self.key.encode())


def door_of(text: str, token_file: str | None) -> Door:
    """Read ``[HOST:]PORT``, 127.0.0.1 unless a host is given, and the token from its file or the environment.

    Raises:
        UsageError: it does not look like that, the token cannot be read or is short, or an address that others reach
            has none.
    """
    host, port = address_of(text, "--web", 8080)
    token = os.environ.get(TOKEN, "") if token_file is None else _read(token_file)
    if token and (len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise UsageError(
            f"the token of --web must be {SHORTEST} characters or more, without spaces: openssl rand -hex 16"
        )
    if host not in LOOPBACK and not token:
        raise UsageError(f"--web {text} shows pictures to others; give --web-token FILE, or set {TOKEN}")
    return Door(host, port, token)


def _read(file: str) -> str:
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--web-token {file} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    if not token:
        raise UsageError(f"--web-token {file} is empty; put {SHORTEST} characters or more into it")
    return token
