"""A small MQTT 3.1.1 broker in this process, which takes what is published and can be killed and started again."""

import contextlib
import json
import socket
import threading
from typing import Any

CONNECT, PUBLISH, PINGREQ, DISCONNECT = 1, 3, 12, 14
"""Kinds of packets (MQTT 3.1.1, table 2.1)."""

CONNACK, PINGRESP = b"\x20\x02\x00\x00", b"\xd0\x00"


class Broker:
    """Takes publications with QoS 0 and 1; knows no subscriptions."""

    def __init__(self) -> None:
        """Begin to listen on a free port of this machine."""
        self.results: list[dict[str, Any]] = []
        """What came under a topic that ends in ``result``, as often as it came."""
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._dying = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._begin()

    def once(self) -> list[dict[str, Any]]:
        """Return each result once, by its id, in the order of their first arrival."""
        with self._lock:
            return list({result["id"]: result for result in self.results}.values())

    def start(self) -> None:
        """Listen again."""
        self._dying = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._begin()

    def stop(self) -> None:
        """Take what comes without acknowledging it, then break every connection and close the port."""
        self._dying = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _begin(self) -> None:
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True, name="broker").start()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="broker client").start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError, EOFError):
            while True:
                head, body = _packet(stream)
                answer = self._answer(head, body)
                if answer is None:
                    return
                if not self._dying:
                    connection.sendall(answer)

    def _answer(self, head: int, body: bytes) -> bytes | None:
        kind = head >> 4
        if kind == PUBLISH:
            return self._take(head, body)
        return {CONNECT: CONNACK, PINGREQ: PINGRESP}.get(kind, None if kind == DISCONNECT else b"")

    def _take(self, head: int, body: bytes) -> bytes:
        """Take a publication (3.3): topic, with QoS 1 a number, and the content; return its acknowledgement (3.4)."""
        length = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        acknowledgement = b""
        if head >> 1 & 3:
            acknowledgement, rest = b"\x40\x02" + rest[:2], rest[2:]
        if topic.endswith("/result"):
            with self._lock:
                self.results.append(json.loads(rest))
        return acknowledgement


def _packet(stream: Any) -> tuple[int, bytes]:
    """Read a packet: its first byte and what follows its length (2.2.3).

    Raises:
        EOFError: the connection ended.
    """
    head = stream.read(1)
    length = shift = 0
    while head:
        byte = stream.read(1)
        if not byte:
            break
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:  # noqa: PLR2004 - the last byte of a length
            body = stream.read(length)
            if len(body) == length:
                return head[0], body
            break
    raise EOFError
