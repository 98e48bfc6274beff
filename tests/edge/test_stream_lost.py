"""A network stream through OpenCV that is lost: whether it ended or fell silent is told rightly."""

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlight_edge.errors import SourceError
from kdlight_edge.sources import Patience
from kdlight_edge.sources.opencv import stream

LIMIT = 20.0

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt install ffmpeg")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return ``make(hang_up=...) -> URI`` of a stream of two seconds that ends, or is silent afterwards."""
    clip, done = tmp_path / "clip.ts", threading.Event()
    pictures = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-c:v", "mpeg2video"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *pictures, str(clip)], check=True, timeout=LIMIT)
    with contextlib.ExitStack() as open_ones:

        def make(*, hang_up: bool) -> str:
            door = open_ones.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer() -> None:
                caller = door.accept()[0]
                with caller, contextlib.suppress(OSError):
                    caller.sendall(clip.read_bytes())
                    if not hang_up:
                        done.wait(LIMIT)

            thread = threading.Thread(target=answer)
            thread.start()
            open_ones.callback(thread.join, LIMIT)
            open_ones.callback(done.set)
            return f"tcp://127.0.0.1:{door.getsockname()[1]}"

        yield make


@pytest.mark.parametrize(("hang_up", "said"), [(True, "^the stream ended$"), (False, r"^no frame for [12]\.\d s$")])
def test_a_lost_stream_says_whether_it_ended_or_fell_silent(
    serve: Callable[..., str], *, hang_up: bool, said: str
) -> None:
    camera = stream(serve(hang_up=hang_up), Patience(stall_timeout=1.5))
    for _ in range(40):
        camera.read()
    with pytest.raises(SourceError, match=said):  # noqa: PT012 - how many frames come before it, the decoder knows
        while True:
            camera.read()
    camera.close()
