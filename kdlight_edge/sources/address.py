"""The address of a network camera: what of it may be shown, and who logs in there."""

import re
import urllib.parse

_HOST = re.compile(r"(\[[^\[\]]*\]|[^:@?#\[\]]*)(:\d*)?")
"""A host and its port."""

_IN_LOGINS = "%:!$&'()*+,;=-._~"
"""What may stand in a user and password as it is (RFC 3986, 3.2.1)."""


def without_password(uri: str) -> str:
    """Return a URI as it may be shown and logged: the user and password before the host are left out."""
    return _parted(uri)[1]


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
