"""Which MQTT broker: its address, how it is reached, and the names under it."""

import os
import urllib.parse
from dataclasses import dataclass, field

from kdlight_edge.errors import UsageError
from kdlight_edge.plain import place_of

PASSWORD = "KDLIGHT_MQTT_PASSWORD"  # noqa: S105 - the name of an environment variable, not its value
"""Where the password is taken from: a command line is seen by everybody on the machine."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What ``--mqtt`` names."""

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = "kdlight"
    """First part of every topic."""

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{place_of(self.host, self.port)}"


def broker_of(url: str, flag: str = "--mqtt") -> Broker:
    """Read ``mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]``.

    Raises:
        UsageError: it does not look like that.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        parts, host, port = urllib.parse.urlsplit(""), None, None
    prefix = parts.path.strip("/") or "kdlight"
    if parts.scheme not in {"mqtt", "mqtts"} or not host or port == 0 or set("+#\0") & set(prefix):
        raise UsageError(f"{flag} is not the address of a broker; give mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    tls = parts.scheme == "mqtts"
    user = None if parts.username is None else urllib.parse.unquote(parts.username)
    given = None if parts.password is None else urllib.parse.unquote(parts.password)
    password = os.environ.get(PASSWORD, given)
    try:
        (password or "").encode()
    except UnicodeEncodeError:
        raise UsageError(f"{PASSWORD} is no text in UTF-8, which MQTT demands; set another") from None
    # What reads a secret out of a file often leaves the end of its line.
    return Broker(host, port or (8883 if tls else 1883), tls, user, password and password.rstrip("\r\n"), prefix)


def check_device(name: str) -> str:
    """Return a device's name that can be a level of a topic and a part of a file's name.

    Raises:
        UsageError: it cannot.
    """
    if not name or name.startswith(".") or not name.isprintable() or set("/+#$ ") & set(name):
        raise UsageError(f"--mqtt-device {name!r} cannot be a part of a topic; letters, digits, - and _ can")
    return name


def topic(broker: Broker, device: str, last: str) -> str:
    """Return ``PREFIX/DEVICE/LAST``."""
    return f"{broker.prefix}/{device}/{last}"
