"""A network camera in this process (JPEG after JPEG over HTTP) whose faults are switched on and off while it runs."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from kdlight_edge.golden import golden_picture

FPS = 25.0

CYCLE = 16
"""Different pictures, each unlike its neighbours; they are drawn once, so that the camera costs the board little."""

DRIP_SECONDS = 0.2
"""Between two bytes of a camera that is too slow."""

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=edge\r\n\r\n"


class Camera:
    """Counts the whole pictures that it sent, so that a run's results can be counted against them."""

    def __init__(self, fps: float = FPS) -> None:
        """Begin to listen on a free port of this machine."""
        self.sent = 0
        """Whole pictures sent that differ from the one before, damaged ones included."""
        self.damaged = 0
        """Those of them that cannot be decoded."""
        self._pause = 1 / fps
        self._ordinary, self._dark, self._large = (list(_pictures(kind)) for kind in ("well", "dark", "large"))
        self._changed = threading.Condition()
        self._mode, self._serving, self._closed = "well", 0, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True, name="camera").start()

    def switch(self, mode: str) -> None:
        """Behave in another way from the next picture on.

        Args:
            mode: ``well``, ``quiet`` (sends nothing), ``frozen``, ``slow``, ``truncated``, ``garbage``, ``dark``,
                ``large``, ``thrice`` (each picture) or ``off`` (pulls the cable in the middle of a picture); it and
                the mode after it close and open the port.
        """
        before = self._mode
        with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode == "off":
            _end(self._listener)
        elif before == "off":
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._listen, args=(self._listener,), daemon=True, name="camera").start()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        _end(self._listener)

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._serving += 1  # a camera of one viewer: the newest
                self._changed.notify_all()
            arguments = (connection, self._serving)
            threading.Thread(target=self._serve, args=arguments, daemon=True, name="camera viewer").start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            connection.recv(8192)
            connection.sendall(HEAD)
            due = time.monotonic()
            while self._wait(connection, due, number):
                self._send(connection, self._mode, number)
                if self._mode == "off":
                    return
                due = max(due + self._pause, time.monotonic() - self._pause)

    def _wait(self, connection: socket.socket, due: float, number: int) -> bool:
        """Wait for the time of the next picture; False where this viewer gets none any more."""
        with self._changed:
            while not self._closed and self._serving == number:
                left = due - time.monotonic()
                if self._mode == "off" or (self._mode != "quiet" and left <= 0):
                    return not _gone(connection)
                self._changed.wait(None if self._mode == "quiet" else left)
        return False

    def _send(self, connection: socket.socket, mode: str, number: int) -> None:
        picture = self._ordinary[self.sent % CYCLE]
        if mode == "off":
            connection.sendall(part(picture)[: len(picture) // 2])
        elif mode == "frozen":
            connection.sendall(part(self._ordinary[(self.sent - 1) % CYCLE]))
        elif mode == "slow":
            self._drip(connection, part(picture), number)
        elif mode == "garbage":
            connection.sendall(np.random.default_rng().bytes(1 << 15))
        elif mode == "truncated":
            self._whole(connection, (picture[: len(picture) // 2], b"\0" * 64, b"")[self.sent % 3], damaged=True)
        else:
            shown = {"dark": self._dark, "large": self._large}.get(mode, self._ordinary)[self.sent % CYCLE]
            for _ in range(2 if mode == "thrice" else 0):
                connection.sendall(part(shown))
            self._whole(connection, shown)

    def _whole(self, connection: socket.socket, picture: bytes, *, damaged: bool = False) -> None:
        connection.sendall(part(picture))
        self.sent += 1
        self.damaged += damaged

    def _drip(self, connection: socket.socket, content: bytes, number: int) -> None:
        """Send byte after byte, slower than any viewer is patient."""
        connection.sendall(content[: len(content) // 2])
        for place in range(len(content) // 2, len(content) - 1):
            connection.sendall(content[place : place + 1])
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._serving != number, DRIP_SECONDS)
                if self._closed or self._serving != number:
                    return


def part(picture: bytes) -> bytes:
    """Return a picture as a part of the stream."""
    return b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture)


def _pictures(kind: str) -> Iterator[bytes]:
    base = golden_picture(5)
    for number in range(CYCLE):
        image = np.roll(base, 7 * number, axis=1)
        if kind == "dark":
            image = image // np.uint8(40)
        elif kind == "large":
            image = cv2.resize(image, (image.shape[1] * 2, image.shape[0] * 3))  # type: ignore[assignment]
        yield cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def _gone(connection: socket.socket) -> bool:
    """Whether the viewer has closed its end: what is sent then would count as sent and be seen by nobody."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""


def _end(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
    listener.close()
