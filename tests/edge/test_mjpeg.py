"""Network cameras over HTTP: one under the test's control, and a real one that is killed."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.picture import Need, decode_reduced
from kdlight_edge.sources import Patience, latest, open_source
from tests.edge.encoded import jpeg, take_all, video

LIMIT = 20.0
"""Seconds after which a test that waits for something has failed."""

HASTY = Patience(stall_timeout=1.0, first_wait=0.05, longest_wait=0.2)


class Told:
    """Collects what a source reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.anything = threading.Event()

    def __call__(self, line: str) -> None:
        """Take one line."""
        self.lines.append(line)
        self.anything.set()


@pytest.mark.parametrize(
    "uri", ["93", "/dev/v4l/by-id/usb-nothing", "/dev/kdlight-camera-9", "http://127.0.0.1:1/x", "rtsp://127.0.0.1:1/x"]
)
def test_a_camera_that_is_not_there_is_refused_at_once_with_advice(uri: str) -> None:
    with pytest.raises(SourceError, match=r"(plug it in|see that it is on)"):
        open_source(uri, HASTY)


# HTTP cameras


class Server:
    """An HTTP camera under a test's control: answers each connection with the next of its scripts."""

    def __init__(self, *scripts: Callable[[socket.socket], None]) -> None:
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}/cam"
        self._thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self._thread.start()

    def _serve(self, scripts: tuple[Callable[[socket.socket], None], ...]) -> None:
        for script in scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed by the test
            with connection, contextlib.suppress(OSError):
                self.requests.append(connection.recv(8192).decode())
                script(connection)

    def close(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)


MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=--edge\r\n\r\n"


def part(content: bytes, *, length: bool = True) -> bytes:
    size = f"Content-Length: {len(content)}\r\n".encode() if length else b""
    return b"--edge\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + content + b"\r\n"


def sends(*pieces: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"".join(pieces))


@pytest.mark.parametrize("length", [True, False])
def test_an_mjpeg_camera_is_read_with_and_without_lengths(*, length: bool) -> None:
    reds = [part(jpeg((200, 10, 10)), length=length)]
    camera = Server(sends(MULTIPART, *reds, b"--edge--\r\n"))
    items = take_all(open_source(camera.uri, Patience(1.0, 0), lambda _: None))
    camera.close()
    (frame,) = items
    assert isinstance(frame, Frame)
    assert frame.image.shape == (30, 40, 3)
    assert frame.source == camera.uri


def test_an_mjpeg_camera_that_is_busy_at_the_start_can_be_waited_for() -> None:
    busy = sends(b"HTTP/1.0 503 Busy\r\n\r\n")
    camera = Server(busy, busy, *[sends(MULTIPART, part(jpeg()))] * 3)
    told = Told()
    source = open_source(camera.uri, Patience(1.0, 2, first_wait=0.05, at_start=True), told)
    frame = next(iter(source))
    source.close()
    camera.close()
    assert isinstance(frame, Frame)
    assert "lost: " in told.lines[0]
    assert "answers 503 Busy" in told.lines[0]


def test_the_half_of_a_picture_before_a_cut_is_never_shown() -> None:
    whole = part(jpeg())
    camera = Server(sends(MULTIPART, whole, whole[: len(whole) // 2]))
    items = take_all(open_source(camera.uri, Patience(1.0, 0), lambda _: None))
    camera.close()
    assert len(items) == 1
    assert isinstance(items[0], Frame)


def test_a_damaged_picture_in_a_stream_is_reported_and_the_stream_goes_on() -> None:
    given = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(MULTIPART + part(jpeg()[:-100]))
        given.wait(LIMIT)
        connection.sendall(part(jpeg()))

    camera = Server(script)
    source = open_source(camera.uri, Patience(5.0, 0), lambda _: None)
    items = iter(source)
    bad = next(items)
    given.set()
    frame = next(items)
    source.close()
    camera.close()
    assert isinstance(bad, Unreadable)
    assert "truncated" in bad.reason
    assert isinstance(frame, Frame)
    assert frame.index == 1


def test_frames_that_nobody_takes_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def decode(content: bytes, *more: Any) -> Any:
        decoded.append(len(content))
        return decode_reduced(content, *more)

    monkeypatch.setattr(latest, "decode_reduced", decode)
    pictures = [part(jpeg((200, 10, shade))) for shade in range(0, 240, 12)]
    camera = Server(sends(MULTIPART, *pictures))
    source: Any = open_source(camera.uri, Patience(1.0, 0), lambda _: None)
    source.shrink(Need(lambda _w, _h: 1))
    with contextlib.closing(source):
        source._thread.start()
        source._thread.join(LIMIT)  # the camera has closed the connection, and nobody comes to open it again
        frame = source.poll()
    camera.close()
    assert (frame.index, frame.dropped) == (19, 19)
    assert len(decoded) == 1


def test_a_camera_takes_no_memory_for_a_frame_once_it_runs() -> None:
    pytest.importorskip("simplejpeg")  # OpenCV decodes into new memory
    pictures = [part(jpeg((200, shade, 10), (640, 480))) for shade in range(0, 250, 5)]
    go_on = threading.Semaphore(0)

    def script(connection: socket.socket) -> None:
        connection.sendall(MULTIPART)
        for picture in pictures:
            connection.sendall(picture)
            go_on.acquire(timeout=LIMIT)

    camera = Server(script)
    source: Any = open_source(camera.uri, Patience(5.0, 0), lambda _: None)
    source.shrink(Need(lambda _w, _h: 1))
    with contextlib.closing(source), contextlib.suppress(SourceError):
        for count, frame in enumerate(source):
            assert isinstance(frame, Frame)
            if count == 10:
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
                shown = frame.image.ctypes.data
            if count > 10:
                assert frame.image.ctypes.data == shown
                peak = tracemalloc.get_traced_memory()[1]
            go_on.release()
    tracemalloc.stop()
    camera.close()
    assert count == 49
    assert peak - before < 640 * 480  # a third of a picture: encoded bytes and small things come and go


def test_a_frozen_camera_counts_as_lost_after_the_stall_timeout() -> None:
    told = Told()

    def freeze(connection: socket.socket) -> None:
        connection.sendall(MULTIPART + part(jpeg()) + part(jpeg())[:50])
        told.anything.wait(LIMIT)

    camera = Server(freeze, sends(MULTIPART, part(jpeg((10, 200, 10)))))
    source = open_source(camera.uri, Patience(0.3, 1, 0.01), told)
    items = take_all(source)
    camera.close()
    assert len(items) == 2
    assert "no frame for 0.3 s" in told.lines[0]
    assert "is back" in told.lines[1]


def test_a_camera_that_wants_a_password_gets_it_and_no_line_shows_it() -> None:
    asks = b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="cam"\r\nContent-Length: 0\r\n\r\n'
    camera = Server(sends(asks), sends(MULTIPART, part(jpeg())))
    items = take_all(open_source(camera.uri.replace("//", "//bob:s3cret@"), Patience(1.0, 0), lambda _: None))
    camera.close()
    assert "Basic Ym9iOnMzY3JldA==" in camera.requests[1]
    assert items[0].source == camera.uri


def test_a_camera_that_refuses_tells_what_to_write() -> None:
    camera = Server(
        sends(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"\r\nContent-Length: 0\r\n\r\n')
    )
    with pytest.raises(SourceError, match=r"answers 401 .*USER:PASSWORD@"):
        open_source(camera.uri, HASTY)
    camera.close()


@pytest.mark.parametrize("began_as_mjpeg", [True, False])
def test_a_camera_that_comes_back_with_another_kind_of_stream_is_read_as_what_it_is_now(
    tmp_path: Path, *, began_as_mjpeg: bool
) -> None:
    clip = sends(b"HTTP/1.0 200 OK\r\nContent-Type: video/x-msvideo\r\n\r\n", video(tmp_path / "clip.avi").read_bytes())
    parts = sends(MULTIPART, part(jpeg()), part(jpeg((10, 10, 200))))
    camera = Server(*([parts] if began_as_mjpeg else []), clip, clip, clip, *[parts] * 3, *[clip] * 9)
    source = open_source(camera.uri, Patience(1.0, 5, first_wait=0.05, longest_wait=0.2), lambda _: None)
    widths: list[int] = []
    for item in source:
        assert isinstance(item, Frame)
        widths += [item.image.shape[1]] if item.image.shape[1] not in widths else []
        if len(widths) == 2:
            break
    source.close()
    camera.close()
    assert widths == ([40, 64] if began_as_mjpeg else [64, 40])


def test_a_page_that_is_no_stream_is_refused() -> None:
    page = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"
    camera = Server(sends(page), sends(page), sends(page))
    with pytest.raises(SourceError, match="no stream at"):
        open_source(camera.uri, HASTY)
    camera.close()


def test_a_camera_that_stays_away_ends_the_run_with_its_exit_code_and_every_line(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    camera = Server(sends(MULTIPART, part(jpeg())))
    assert main(["infer", "--camera", camera.uri, "--model", str(tiny_bundle()), "--json", "--retries", "0"]) == 6
    camera.close()
    out, err = capfd.readouterr()
    assert json.loads(out)["source"] == camera.uri
    assert "lost: the camera closed the connection" in err
    assert "stayed away, given up after 0 attempts" in err


# A real network camera


@pytest.fixture
def ffmpeg_camera(tmp_path: Path) -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Return ``start() -> (uri, process)``; each call starts the camera anew at the same address."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed; apt-get install ffmpeg brings it")
    clip = video(tmp_path / "clip.mp4")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        uri = f"http://127.0.0.1:{port}/"
        command = ["ffmpeg", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(clip)]
        running.append(subprocess.Popen([*command, "-f", "mpjpeg", "-listen", "1", uri], stdin=subprocess.DEVNULL))
        return uri, running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait(LIMIT)


def open_soon(uri: str, patience: Patience, report: Callable[[str], None]) -> Any:
    """Open a camera that is about to listen: it takes a connection once, so it cannot be asked before."""
    until = time.monotonic() + LIMIT
    while True:
        try:
            return open_source(uri, patience, report)
        except SourceError:  # noqa: PERF203 - it is the error that is waited out
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def test_frames_flow_again_after_a_network_camera_was_killed_and_started(
    ffmpeg_camera: Callable[[], tuple[str, subprocess.Popen[bytes]]],
) -> None:
    uri, process = ffmpeg_camera()
    told = Told()
    source = open_soon(uri, HASTY, told)
    assert source.live
    items = iter(source)
    before = [next(items) for _ in range(3)]
    process.kill()
    process.wait(LIMIT)
    assert told.anything.wait(LIMIT)
    ffmpeg_camera()
    after: list[Frame | Unreadable] = []
    while not any("is back after" in line for line in told.lines) or len(after) < 3:
        after.append(next(items))
    source.close()
    assert "lost" in told.lines[0]
    assert "is back after" in told.lines[-1]
    indexes = [item.index for item in [*before, *after]]
    assert indexes == sorted(set(indexes))
    assert all(isinstance(item, Frame) for item in [*before, *after])
