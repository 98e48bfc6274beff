"""The end of a socket that a service manager holds, for tests of what it is told."""

import socket

LIMIT = 20.0
"""Seconds after which a test that waits for something has failed."""


class Manager:
    """The end of the socket that systemd holds."""

    def __init__(self, path: str) -> None:
        self.address = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self._socket.settimeout(LIMIT)

    def receive(self) -> list[str]:
        """Return the lines of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def receive_until(self, start: str) -> list[str]:
        """Return the lines of all messages up to the first that has a line with that start."""
        heard: list[str] = []
        while not any(line.startswith(start) for line in heard):
            heard += self.receive()
        return heard

    def close(self) -> None:
        """Go away."""
        self._socket.close()
