"""The address of a network camera: what of it may be shown, and who logs in there."""

import re
import urllib.parse

_HOST = re.compile(r"(\[[^\[\]]*\]|[^:@?#\[\]]*)(:\d*)?")
"""A host and its port."""

_IN_LOGINS = "%:!$&'()*+,;=-._~"
"""What may stand in a user and password as it is (RFC 3986, 3.2.1)."""

_NAMED = r"(?:[\w.-]*(?:passw(?:or)?d|pass|pwd|psw|token|secret|api[_-]?key)|auth|key|sig(?:nature)?)="
_SECRET = re.compile(
    rf"([?&;]{_NAMED})[^&;#\s]*|([/_]{_NAMED})(?:(?!_[a-z0-9]+=[^=&;#\s])[^&;#\s])*",
    re.IGNORECASE,
)
"""A secret in the query, or in the path as many recorders want it: ``/user=admin_password=..._channel=1``.

A token in base64 may hold ``_`` and end in ``=``: that is no next field."""


def without_password(uri: str) -> str:
    """Return a URI as it may be shown and logged: without user and password before the host, and secrets behind it."""
    return without_secrets(without_login(uri))


def without_secrets(text: str) -> str:
    """Return a text that holds a URI, without the values of what in its query or path is named like a secret."""
    return _SECRET.sub(r"\1\2...", text)


def without_login(uri: str) -> str:
    """Return a URI without the user and password before the host: what is asked for there."""
    return _parted(uri)[1] if "://" in uri else uri


def login(uri: str) -> tuple[str, str] | None:
    """Return the user and password of a URI, whatever signs are in them, plain or as %XX; None without."""
    if not (given := _parted(uri)[0]):
        return None
    user, _, password = given.partition(":")
    return urllib.parse.unquote(user), urllib.parse.unquote(password)


def with_login(uri: str) -> str:
    """Return a URI whose user and password have as %XX what would end them, as readers of URIs want it."""
    given, rest = _parted(uri)
    if not given:
        return uri
    scheme, _, rest = rest.partition("://")
    return f"{scheme}://{urllib.parse.quote(given, safe=_IN_LOGINS)}@{rest}"


def _parted(uri: str) -> tuple[str, str]:
    """Return the user and password before a host, as they are written, and the URI without them."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    if "@" not in host and "@" in path and not _HOST.fullmatch(host):  # a slash within the password
        user, _, shown = rest.rpartition("@")
    else:
        user, _, host = host.rpartition("@")
        shown = f"{host}{slash}{path}"
    return user, f"{scheme}://{shown}"
