"""Raw frames from a child process: YUV4MPEG2 (I420, 8 bits) in multipart, from its standard output."""

import collections
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Moment

START_SECONDS = 15.0
"""How long a child may take for its first frame, at least: a Jetson's camera service needs several seconds."""

MAX_HEAD = 1024
"""Bytes of a header above which this is no YUV4MPEG2."""

MAX_SIDE = 16384
"""Pixels of a side above which a header is taken for damaged."""

_SIZE = re.compile(rb"YUV4MPEG2(?=.* W(\d{1,5})(?: |$))(?=.* H(\d{1,5})(?: |$)).*")


class Y4m:
    """A running child and its pictures: one `Feed`.

    A change of size in the stream is a loss, as it comes without a header; the next child tells the new size.
    """

    def __init__(self, command: Sequence[str], name: str, stall_timeout: float) -> None:
        """Start the child and wait for its first picture.

        Args:
            command: program and arguments; no shell is between.
            name: of the source, for errors.
            stall_timeout: seconds without a byte after which the child counts as lost.

        Raises:
            SourceError: it does not start, ends, or gives no frame in time; what it said last is in the message.
        """
        self._stall_timeout = stall_timeout
        self._said: collections.deque[str] = collections.deque(maxlen=20)
        try:
            self._child = subprocess.Popen(  # noqa: S603 - arguments are a list, no shell reads them
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise SourceError(f"{command[0]} cannot be started: {error.strerror}; see that it is installed") from error
        self._listener = threading.Thread(target=self._listen, name=f"stderr of {name}", daemon=True)
        self._listener.start()
        self._yuv = np.empty((0, 0), np.uint8)
        """uint8 [h * 3 / 2, w]: the one buffer that every frame is read into."""
        self._next: bytes | None = None
        """How every part begins, once two were seen."""
        self._again = bytearray()
        self._pending: tuple[npt.NDArray[np.uint8], Moment] | None = None
        self._waits = max(stall_timeout, START_SECONDS)
        try:
            self._pending = self._frame()
        except SourceError:
            self.close()
            raise
        self._waits = stall_timeout

    def _listen(self) -> None:
        """Keep the last lines of stderr; a pipe that nobody reads would stop the child."""
        if self._child.stderr is not None:
            for line in self._child.stderr:
                if text := line.decode("utf-8", "replace").strip():
                    self._said.append(text)

    def read(self) -> tuple[npt.NDArray[np.uint8] | str, Moment]:
        """Wait for the next whole picture; see `Feed.read`."""
        frame, self._pending = self._pending or self._frame(), None
        return frame

    def _frame(self) -> tuple[npt.NDArray[np.uint8], Moment]:
        if self._next is None:
            self._part()
        else:
            self._fill(memoryview(self._again))
            if self._again != self._next:
                raise SourceError("the size of its pictures has changed")
        self._fill(self._yuv.data.cast("B"))
        captured = Moment.now()
        rgb: Any = cv2.cvtColor(self._yuv, cv2.COLOR_YUV2RGB_I420)
        return rgb, captured

    def _header(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        width, height = (int(found[1]), int(found[2])) if found else (0, 0)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or width % 8 or height % 2:
            # GStreamer pads the rows of other widths, and its versions differ in whether the padding is written.
            raise SourceError(
                f"the pipeline's pictures are {width}x{height}; the width must be a multiple of 8, the height even: "
                "end it in videoscale ! video/x-raw,width=640,height=480"
            )
        if self._yuv.shape != (height * 3 // 2, width):
            self._yuv = np.empty((height * 3 // 2, width), np.uint8)

    def _part(self) -> None:
        """Read the beginning of a part that is a frame; of the second one on, all are the same while the size is."""
        head = self._until(b"\r\n\r\n")
        line = self._until(b"\n")
        first = line.startswith(b"YUV4MPEG2")
        if first:
            self._header(line[:-1])
            line += self._until(b"\n")
        length = re.search(rb"Content-Length: *(\d{1,10})\r", head, re.IGNORECASE)
        if not line.endswith(b"FRAME\n") or length is None or int(length[1]) != len(line) + self._yuv.size:
            raise SourceError("the child's stream is out of step: no frame where one should begin")
        if not first:
            self._next, self._again = head + line, bytearray(len(head) + len(line))

    def _until(self, end: bytes) -> bytes:
        """Read up to and with ``end``, byte by byte, as this is done twice in a stream."""
        found, byte = bytearray(), bytearray(1)
        while not found.endswith(end):
            if len(found) > MAX_HEAD:
                raise SourceError("the child's stream is not made of parts")
            self._fill(memoryview(byte))
            found += byte
        return bytes(found)

    def _fill(self, room: memoryview) -> None:
        """Read until ``room`` is full."""
        pipe = self._child.stdout
        if pipe is None:
            raise SourceError("the child has no output")
        done, deadline = 0, time.monotonic() + self._waits
        while done < len(room):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise SourceError(f"no whole frame for {self._waits:g} s{self._last_words()}")
            count = os.readv(pipe.fileno(), [room[done:]])
            if not count:
                self._listener.join(1.0)
                raise SourceError(f"the pipeline ended{self._last_words()}")
            done += count

    def _last_words(self) -> str:
        """Return what the child said of its trouble: GStreamer puts the reason in the line that names an error."""
        told = [line for line in self._said if "ERROR: from" in line or "erroneous" in line or "No such" in line]
        said = told or list(self._said)
        return f": {said[0]}" if said else ""

    def close(self) -> None:
        """End the child, and take its end from the system; safe to call twice."""
        self._child.kill()
        self._child.wait()
        self._listener.join(1.0)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
