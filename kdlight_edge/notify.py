"""Tells systemd how the program is, by datagrams to the socket that ``Type=notify`` names (see sd_notify(3))."""

import contextlib
import os
import socket
from collections.abc import Mapping

from kdlight_edge.errors import UsageError

LOADING_SECONDS = 600
"""What a start may take: an engine that is built on the board needs minutes, once."""

PATIENCE = 1.0
"""Seconds that a full socket is waited for; the next message says the same again."""


class Notifier:
    """Sends to the manager that started this process; a manager that is away for a moment is no error."""

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        """Take where to send.

        Args:
            address: path of a datagram socket, or ``@NAME`` of an abstract one.
            watchdog: seconds without ``WATCHDOG=1`` after which the manager ends this process; None for never.
        """
        self.watchdog = watchdog
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)

    def send(self, **fields: object) -> None:
        """Send ``NAME=value`` for each field: ``READY``, ``WATCHDOG``, ``STATUS``, ``STOPPING``, ..."""
        lines = (f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def open_notifier(environ: Mapping[str, str] = os.environ) -> Notifier | None:
    """Return the way to the manager; None where there is none (``NOTIFY_SOCKET`` is not set).

    Raises:
        UsageError: ``NOTIFY_SOCKET`` is not the name of a socket on this machine.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return None
    if address[0] not in "/@":
        raise UsageError(f"NOTIFY_SOCKET {address!r} is neither a path nor @NAME; unset it")
    return Notifier(address, _watchdog(environ))


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return ``WATCHDOG_USEC`` in seconds where it is meant for this process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) and ours else None
