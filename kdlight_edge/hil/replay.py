"""A network camera on the board itself: sends pictures as MJPEG at a fixed rate, and fails when it is told to.

usage: python -m kdlight_edge.hil.replay FPS SECONDS [unplug@AT:FOR | freeze@AT:FOR ...] <PICTURES

Its pictures come on stdin, each after its length in four bytes. The first line it prints is its port; then comes a JSON
line for each fault when it is over, and one at the end. Its clock starts with the first connection. Standard library
only, so that it costs the board little.
"""

import contextlib
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

BOUNDARY = b"replay"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY + b"\r\n\r\n"
PATIENCE = 60.0
"""Seconds it waits for its first connection before it ends by itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a camera, in seconds from its start."""

    kind: str
    """``unplug``: the connection breaks and nobody answers; ``freeze``: it sends the same picture again and again."""
    begin: float
    seconds: float

    def on(self, at: float) -> bool:
        """Tell whether it lasts at a time."""
        return self.begin <= at < self.begin + self.seconds


def read_fault(text: str) -> Fault:
    """Read ``unplug@5:2``.

    Raises:
        ValueError: it is written otherwise.
    """
    found = re.fullmatch(r"(unplug|freeze)@([\d.]+):([\d.]+)", text)
    if found is None:
        raise ValueError(f"{text!r} is no fault; write unplug@AT:FOR or freeze@AT:FOR, in seconds")
    return Fault(found[1], float(found[2]), float(found[3]))


class Camera:
    """One client at a time, as cheap cameras have it."""

    def __init__(self, pictures: Sequence[bytes], fps: float) -> None:
        """Take encoded pictures, of which no two neighbours are the same."""
        self._pictures, self._fps = pictures, fps
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self.sent = 0

    def run(self, seconds: float, faults: Sequence[Fault]) -> None:
        """Send until the time is over."""
        self._accept(PATIENCE)
        start, index, shown, told = time.monotonic(), 0, 0, set[Fault]()
        while (at := index / self._fps) < seconds:
            time.sleep(max(0.0, start + at - time.monotonic()))
            now = [fault for fault in faults if fault.on(at)]
            kinds = {fault.kind for fault in now}
            for fault in faults:
                if fault not in told and fault not in now and at >= fault.begin + fault.seconds:
                    told.add(fault)
                    say(fault=fault.kind, begin=start + fault.begin, end=time.monotonic())
            if "unplug" in kinds:
                self.close()
            else:
                shown = shown if "freeze" in kinds else index
                self._plug()
                self._send(self._pictures[shown % len(self._pictures)])
            index += 1
        say(end=time.monotonic(), sent=self.sent)

    def close(self) -> None:
        """Be gone; `_plug` brings it back."""
        for one in (self._client, self._listener):
            if one is not None:
                one.close()
        self._client = self._listener = None

    def _plug(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        if self._client is None:
            self._accept(1 / self._fps / 4)

    def _accept(self, seconds: float) -> None:
        """Take a client that waits; its question does not matter."""
        if self._listener is None:
            return
        self._listener.settimeout(seconds)
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            client.settimeout(1.0)
            client.recv(65_536)
            client.sendall(HEAD)
            self._client = client

    def _send(self, picture: bytes) -> None:
        if self._client is None:
            return
        head = f"--{BOUNDARY.decode()}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        try:
            self._client.sendall(head + picture + b"\r\n")
            self.sent += 1
        except OSError:
            self._client.close()
            self._client = None


def say(**told: Any) -> None:
    """Print one JSON line."""
    print(json.dumps(told), flush=True)  # noqa: T201 - what it prints is read by whoever started it


def pack(pictures: Iterable[bytes]) -> bytes:
    """Put pictures in a row as `unpack` reads them: nothing has to lie on the board's card."""
    return b"".join(struct.pack(">I", len(picture)) + picture for picture in pictures)


def unpack(stream: BinaryIO) -> Iterator[bytes]:
    """Read pictures until the stream ends."""
    while head := stream.read(4):
        yield stream.read(struct.unpack(">I", head)[0])


def main(arguments: Sequence[str]) -> int:
    """Send; see the file's own first lines."""
    fps, seconds, *faults = arguments
    pictures = list(unpack(sys.stdin.buffer))
    with contextlib.closing(Camera(pictures, float(fps))) as camera:
        say(port=camera.port)
        camera.run(float(seconds), [read_fault(text) for text in faults])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
