"""Any GStreamer pipeline through a child process (gst-launch-1.0) and a pipe: no OpenCV with GStreamer is needed."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.sources import Patience, Source, address
from kdlight_edge.sources.reconnect import keep_reading
from kdlight_edge.sources.y4m import Y4m

PROGRAM = "gst-launch-1.0"

TAIL = (
    "! queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 "
    "! videoconvert ! video/x-raw,format=I420,colorimetry=bt601 ! y4menc ! multipartmux boundary=kdlight ! fdsink fd=1"
)
"""What every pipeline ends in: the newest frame only, YUV4MPEG2, whose header tells the size, in parts whose
lengths tell when the size has changed: y4menc itself then goes on without a new header."""

_SECRET = re.compile(r"(://)[^/@\s]*@|((?:user-pw|password)=)\S+")


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> Source:
    """Open ``gst:PIPELINE``, a pipeline as gst-launch-1.0 takes it, without its sink.

    Raises:
        UsageError: it is empty, or its quotes do not close.
        SourceError: GStreamer is missing, or the pipeline gives no frame (and ``patience.at_start`` is not set).
    """
    try:
        pipeline = shlex.split(uri.removeprefix("gst:"))
    except ValueError as error:
        raise UsageError(f"the pipeline cannot be read: {error}; write it as gst-launch-1.0 takes it") from error
    if not pipeline:
        raise UsageError("gst: names no pipeline; write gst:videotestsrc, without a sink")
    # decodebin lets a pipeline end in JPEG or H.264 as well; what is raw already passes through it.
    return launch(without_secrets(uri), [*pipeline, "!", "decodebin"], patience, report)


def launch(name: str, pipeline: Sequence[str], patience: Patience, report: Callable[[str], None]) -> Source:
    """Read the frames of a pipeline, given in words; started again when it ends.

    Raises:
        SourceError: as `load`.
    """
    command = [PROGRAM, "-q", *pipeline, *TAIL.split()]

    def connect() -> Y4m:
        if shutil.which(PROGRAM) is None:
            raise SourceError(
                f"{name} needs {PROGRAM}; apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good brings it"
            )
        return Y4m(command, name, patience.stall_timeout)

    return keep_reading(name, connect, patience, report)


def has(element: str) -> bool:
    """Tell whether GStreamer is here and has an element."""
    inspect = shutil.which("gst-inspect-1.0")
    return inspect is not None and subprocess.run([inspect, "--exists", element], check=False).returncode == 0  # noqa: S603 - a fixed program, no shell


def without_secrets(uri: str) -> str:
    """Return a pipeline as it may be shown and logged: users and passwords are left out."""
    return address.without_secrets(_SECRET.sub(lambda found: found[1] or f"{found[2]}...", uri))
