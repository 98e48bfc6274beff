"""GStreamer pipelines through a real gst-launch-1.0, and RTSP from a real server."""

import contextlib
import importlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.sources import Patience, kind_of, open_source, opencv
from kdlight_edge.sources.board_camera import Wanted, csi, libcamera, wanted_of
from kdlight_edge.sources.gst import without_secrets
from tests.edge.encoded import take_all
from tests.waiting import LIMIT

HASTY = Patience(stall_timeout=5.0, retries=0, first_wait=0.05, longest_wait=0.2)
SMALL = "video/x-raw,width=64,height=48"

gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="gst-launch-1.0 is not installed; apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good brings it",
)


@gstreamer
@pytest.mark.parametrize("size", [(64, 48), (328, 242)])
def test_a_pipeline_gives_its_frames_in_the_right_colours(size: tuple[int, int]) -> None:
    caps = f"video/x-raw,width={size[0]},height={size[1]}"
    # Smpte bars: white at the left, blue at the right; a wrong row length would shear them.
    source = open_source(f"gst:videotestsrc is-live=true ! {caps}", Patience(freeze_timeout=600), lambda _: None)
    frame = next(iter(source))
    source.close()
    assert isinstance(frame, Frame)
    assert frame.image.shape == (size[1], size[0], 3)
    for row in (3, size[1] // 2):
        left, right = (frame.image[row, column].astype(int) for column in (4, size[0] - 4))
        assert left.min() > 150
        assert right[2] > 120
        assert right[:2].max() < 60


@gstreamer
def test_a_pipeline_may_end_in_jpeg() -> None:
    source = open_source(f"gst:videotestsrc pattern=ball ! {SMALL} ! jpegenc", HASTY, lambda _: None)
    frame = next(iter(source))
    source.close()
    assert isinstance(frame, Frame)
    assert frame.image.shape == (48, 64, 3)


@gstreamer
def test_a_size_that_changes_while_it_runs_starts_the_pipeline_again_and_no_torn_frame_is_shown() -> None:
    pipeline = (
        f"gst:videotestsrc pattern=snow is-live=true num-buffers=20 ! {SMALL} ! c. "
        "videotestsrc pattern=snow is-live=true num-buffers=20 ! video/x-raw,width=128,height=96 ! c. concat name=c"
    )
    told: list[str] = []
    items = take_all(open_source(pipeline, HASTY, told.append))
    assert {item.image.shape for item in items if isinstance(item, Frame)} == {(48, 64, 3)}
    assert "the size of its pictures has changed" in told[0]


@gstreamer
def test_a_width_whose_rows_gstreamer_pads_is_refused_with_what_to_write() -> None:
    with pytest.raises(SourceError, match="322x242; the width must be a multiple of 8"):
        open_source("gst:videotestsrc ! video/x-raw,width=322,height=242", HASTY, lambda _: None)


@gstreamer
def test_a_pipeline_that_ends_is_started_again() -> None:
    told: list[str] = []
    patience = Patience(first_wait=0.05, longest_wait=0.1)
    source = open_source(f"gst:videotestsrc pattern=snow num-buffers=3 ! {SMALL}", patience, told.append)
    for _ in source:
        if any("is back" in line for line in told):
            break
    source.close()
    assert "the pipeline ended" in told[0]


@gstreamer
@pytest.mark.parametrize("pipeline", ["gst:nosuchelement", "gst:filesrc location=/nowhere/x.mp4"])
def test_a_pipeline_that_cannot_be_is_refused_with_gstreamers_own_words(pipeline: str) -> None:
    with pytest.raises(SourceError, match=r"the pipeline ended: .*(nosuchelement|/nowhere)"):
        open_source(pipeline, HASTY, lambda _: None)


@gstreamer
def test_closing_a_pipeline_ends_its_child() -> None:
    source = open_source(f"gst:videotestsrc pattern=snow is-live=true ! {SMALL}", HASTY, lambda _: None)
    items = iter(source)
    next(items)
    source.close()
    assert list(items) == []
    threads = importlib.import_module("threading").enumerate()
    assert not [thread for thread in threads if thread.name.startswith(("capture gst:", "stderr of gst:"))]


@pytest.mark.parametrize("uri", ["gst:", "gst:a 'b", "csi://x", "csi://0?size=big", "libcamera://0?speed=9"])
def test_a_pipeline_or_camera_that_cannot_be_read_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError):
        open_source(uri, HASTY, lambda _: None)


def test_a_password_in_a_pipeline_is_never_shown() -> None:
    shown = without_secrets("gst:rtspsrc location=rtsp://bob:s3cret@cam/x user-pw=s3cret ! decodebin")
    assert shown == "gst:rtspsrc location=rtsp://cam/x user-pw=... ! decodebin"


def test_the_cameras_of_boards_are_pipelines_of_their_own_elements() -> None:
    assert kind_of("csi://0") == kind_of("libcamera://0") == "board"
    wanted = wanted_of("csi://1?size=640x480&fps=15")
    assert wanted == Wanted("1", 640, 480, 15)
    assert csi(wanted).startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=640,height=480,")
    assert libcamera(wanted_of("libcamera://0")).startswith("libcamerasrc ! video/x-raw,format=NV12,width=1280,")
    assert "camera-name=/base/soc/imx708@1a " in libcamera(wanted_of("libcamera:///base/soc/imx708@1a"))


@pytest.mark.skipif(shutil.which("nvgstcapture-1.0") is not None, reason="this is a Jetson")
def test_a_camera_of_another_board_is_refused_with_what_it_needs() -> None:
    with pytest.raises(SourceError, match="needs GStreamer's nvarguscamerasrc"):
        open_source("csi://0", HASTY, lambda _: None)


# RTSP

SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true pattern=snow "
                   "! video/x-raw,format=I420,width=128,height=96,framerate=15/1 ! jpegenc "
                   "! rtpjpegpay name=pay0 pt=26 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


@pytest.fixture
def rtsp_port() -> int:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    python = "/usr/bin/python3"
    if (
        shutil.which(python) is None
        or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode
    ):
        pytest.skip("no RTSP server; apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 brings it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def rtsp_server(port: int) -> Iterator[subprocess.Popen[str]]:
    command = ["/usr/bin/python3", "-c", SERVER, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_an_rtsp_camera_is_read_lost_with_its_server_and_read_again(rtsp_port: int) -> None:
    told: list[str] = []
    uri = f"rtsp://127.0.0.1:{rtsp_port}/live"
    patience = Patience(stall_timeout=3.0, first_wait=0.1, longest_wait=0.5)
    with rtsp_server(rtsp_port):
        source = open_source(uri, patience, told.append)
        items = iter(source)
        first = [next(items) for _ in range(3)]
    with rtsp_server(rtsp_port):
        until = time.monotonic() + LIMIT
        while not any("is back" in line for line in told) and time.monotonic() < until:
            next(items)
        source.close()
    assert all(isinstance(item, Frame) and item.image.shape == (96, 128, 3) for item in first)
    pictures = [item.image for item in first if isinstance(item, Frame)]
    assert not np.array_equal(pictures[0], pictures[1])
    assert "lost: the stream ended" in told[0]
    assert "is back" in told[-1]


def test_of_an_rtsp_camera_that_is_read_too_slowly_the_age_is_told_and_it_is_opened_anew(
    rtsp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    reading = opencv.Camera.read

    def slow(camera: opencv.Camera) -> Any:
        time.sleep(0.3)  # of a camera that sends fifteen a second
        return reading(camera)

    with rtsp_server(rtsp_port):
        patience = Patience(stall_timeout=3.0, first_wait=0.1, longest_wait=0.5)
        source = open_source(f"rtsp://127.0.0.1:{rtsp_port}/live", patience, told.append)
        monkeypatch.setattr(opencv.Camera, "read", slow)
        until, oldest = time.monotonic() + LIMIT, 0.0
        for item in source:
            oldest = max(oldest, time.monotonic() - item.captured.monotonic)
            if any("is back" in line for line in told) or time.monotonic() > until:
                break
        source.close()
    assert "s late, as it sends more than this machine decodes" in told[0]
    assert 1.0 < oldest < 4.0
    assert "is back" in told[-1]
