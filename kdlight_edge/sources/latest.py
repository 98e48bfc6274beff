"""The newest frame of a camera and no other: one slot between the thread that captures and the one that asks."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError, SourceError
from kdlight_edge.frame import NO_META, Frame, Moment, Unreadable
from kdlight_edge.picture import Need, Room, decode, decode_reduced

LOOK_UP = 0.5
"""Seconds of waiting after which a waiting thread looks up: a signal that comes just before the main thread begins to
wait is handled by Python only once that thread runs again, and a camera that is gone would never let it."""


class _Held(NamedTuple):
    """What lies in a slot."""

    image: npt.NDArray[np.uint8] | bytes | str
    captured: Moment
    number: int
    meta: Mapping[str, Any]


class Slot:
    """Holds one frame; a newer one replaces it and the loss is counted; each is handed out once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.closed = threading.Event()
        """Set once nobody will take frames any more, so that whoever captures can end."""
        self.away: float | None = None
        """Seconds of ``time.monotonic`` at the last attempt to open a camera that is lost; None while it is there."""
        self.asked = False
        """Whether somebody waits for a frame at this moment."""
        self.need: Need | None = None
        """What of a JPEG must be decoded."""
        self.room: Room | None = None
        """Where the frame handed out before may lie and be written over."""
        self._lock = threading.Lock()
        self._bell = queue.SimpleQueue[None]()
        """Wakes the one who waits, with less ado than a condition."""
        self._also: threading.Condition | None = None
        self._held: _Held | None = None
        self._count = 0
        self._dropped = 0
        self._ended = False

    def put(
        self, image: npt.NDArray[np.uint8] | bytes | str, captured: Moment, meta: Mapping[str, Any] = NO_META
    ) -> None:
        """Lay in a frame.

        Args:
            image: uint8 [h, w, 3] RGB, not written to afterwards; or an encoded picture, decoded only if it is taken;
                or the reason why it could not be decoded.
            captured: when.
            meta: see `Frame`.
        """
        if self._also is not None and isinstance(image, bytes):
            image = _decoded(image)  # one who reads many cameras has no time for it
        with self._lock:
            if self._held is not None:
                self._dropped += 1
            self._held = _Held(image, captured, self._count, meta)
            self._count += 1
            self._ring()
        self._notify_also()

    def _ring(self) -> None:
        """Wake the one who waits; with the lock held."""
        if self.asked:
            self.asked = False
            self._bell.put(None)

    def share(self, also: threading.Condition) -> None:
        """Let another condition be notified too: of one who waits for several slots."""
        self._also = also

    def _notify_also(self) -> None:
        if self._also is not None:
            with self._also:
                self._also.notify_all()

    @property
    def ready(self) -> bool:
        """Whether `poll` would give a frame, or tell the end."""
        return self._held is not None or self._ended

    @property
    def ended(self) -> bool:
        """Whether no frame will follow the one that may still be there."""
        return self._ended

    def poll(self) -> Frame | Unreadable | None:
        """Return a frame that was not handed out yet without waiting for one; None where there is none."""
        with self._lock:
            held, self._held, dropped = self._held, None, self._dropped
        return None if held is None else self._opened(held, dropped)

    def take(self) -> Frame | Unreadable | None:
        """Wait for a frame that was not handed out yet; None once the slot is closed or its end was reached."""
        while True:
            with self._lock:
                held, self._held, dropped = self._held, None, self._dropped
                self.asked = wait = held is None and not self._ended and not self.closed.is_set()
            if not wait:
                break
            try:
                self._bell.get(timeout=LOOK_UP)
            except queue.Empty:
                continue
        return None if held is None or self.closed.is_set() else self._opened(held, dropped)

    def _opened(self, held: _Held, dropped: int) -> Frame | Unreadable:
        """Decode what still has to be, and take the frames before it off the count once they are told."""
        image, captured, index, meta = held
        full = None
        if isinstance(image, bytes):
            started = time.perf_counter()
            try:
                image, full = decode_reduced(image, self.need, self.room)
            except DataError as error:
                image = str(error)
            else:
                meta = {**meta, "decode_ms": (time.perf_counter() - started) * 1000}
        if isinstance(image, str):
            return Unreadable(image, captured, self.source, index, meta)
        if dropped:
            with self._lock:
                self._dropped -= dropped
        return Frame(image, captured, self.source, index, dropped, meta, full)

    def end(self) -> None:
        """Tell that no frame will follow; one that is still there is handed out."""
        with self._lock:
            self._ended = True
            self._ring()
        self._notify_also()

    def close(self) -> None:
        """Tell that nobody takes frames any more."""
        self.closed.set()
        with self._lock:
            self._ring()


def _decoded(content: bytes) -> npt.NDArray[np.uint8] | str:
    try:
        return decode(content)
    except DataError as error:
        return str(error)


class Latest:
    """A live source: a thread captures into a slot, iterating takes out of it."""

    live = True

    def __init__(self, uri: str, capture: Callable[[Slot], None]) -> None:
        """Take what is run in the thread.

        Args:
            uri: name of the source in every frame.
            capture: puts frames until ``slot.closed`` is set or its camera has ended; what it raises is raised by the
                iteration.
        """
        self.reconnects = 0
        """How often it was lost and came back."""
        self.repeated = 0
        """Frames left out because they were the one before once more."""
        self._capture = capture
        self._slot = Slot(uri)
        self._error: BaseException | None = None
        # A read that hangs inside a driver cannot be woken: as a daemon it does not hold up the end of the program.
        self._thread = threading.Thread(target=self._run, name=f"capture {uri}", daemon=True)

    @property
    def away(self) -> float | None:
        """When it was last tried to open a lost camera whose frame is waited for (`Slot.away`); None otherwise."""
        return self._slot.away if self._slot.asked else None

    @property
    def lost(self) -> float | None:
        """When it was last tried to open a lost camera, whether or not its frame is waited for; None otherwise."""
        return self._slot.away

    @property
    def name(self) -> str:
        """The ``source`` of its frames; may be set before anybody reads them."""
        return self._slot.source

    @name.setter
    def name(self, name: str) -> None:
        self._slot.source = name

    @property
    def ready(self) -> bool:
        """Whether there is a frame, or the end was reached."""
        return self._slot.ready

    @property
    def ended(self) -> bool:
        """Whether no frame will follow the one that may still be there."""
        return self._slot.ended

    @property
    def error(self) -> BaseException | None:
        """What ended the capture; None where it goes on or reached its end."""
        return self._error

    def shrink(self, need: Need) -> None:
        """See `Shrinking`; of a camera whose frames come encoded."""
        self._slot.need, self._slot.room = need, Room()

    def begin(self, changed: threading.Condition) -> None:
        """Start to capture for one who reads several cameras by `poll`, and is notified of frames and the end.

        Raises:
            SourceError: it is being read already.
        """
        self._slot.share(changed)
        self._start()

    def poll(self) -> Frame | Unreadable | None:
        """Return a frame that was not handed out yet; None where there is none now."""
        return self._slot.poll()

    def _run(self) -> None:
        try:
            self._capture(self._slot)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that iterates, which raises it
            self._error = error
        self._slot.end()

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        self._start()
        while (frame := self._slot.take()) is not None:
            yield frame
        if self._error is not None and not self._slot.closed.is_set():
            raise self._error

    def _start(self) -> None:
        if self._thread.ident is not None:
            raise SourceError(f"{self._slot.source} is being read already; open it a second time")
        self._thread.start()

    def close(self) -> None:
        """End the iteration and the thread; a thread that hangs in a driver is left behind after half a second."""
        self._slot.close()
        if self._thread.ident is None:
            self._run()  # never iterated: the capture sees the closed slot and lets go of its camera
        elif self._thread is not threading.current_thread():
            self._thread.join(0.5)
