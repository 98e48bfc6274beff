"""Several cameras as one source: the newest frame of each in turn, and none that waits for another."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from kdlight_edge.errors import SourceError, UsageError
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources import Patience, open_source, tell
from kdlight_edge.sources.address import without_password
from kdlight_edge.sources.latest import LOOK_UP, Latest


class Several:
    """Hands out what its cameras have, in turn, so that a fast one cannot crowd out a slow one.

    One that stays away too long is told and left out; the iteration ends when all have ended.
    """

    live = True

    def __init__(self, cameras: Sequence[Latest], report: Callable[[str], None] = tell) -> None:
        """Take cameras that nobody reads yet, and what takes a line for people."""
        self.cameras = tuple(cameras)
        _tell_apart(self.cameras)
        self._report = report
        self._changed = threading.Condition()
        self._closed = threading.Event()

    @property
    def reconnects(self) -> int:
        """How often one of them was lost and came back."""
        return sum(camera.reconnects for camera in self.cameras)

    @property
    def repeated(self) -> int:
        """Frames left out because they were the one before once more."""
        return sum(camera.repeated for camera in self.cameras)

    @property
    def away(self) -> float | None:
        """When the longest untried of them was last tried, where all of them are lost; None otherwise."""
        found = [camera.lost for camera in self.cameras]
        known = [moment for moment in found if moment is not None]
        return min(known) if known and len(known) == len(found) else None

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        for camera in self.cameras:
            camera.begin(self._changed)
        left, errors = list(self.cameras), list[BaseException]()
        while left and not self._closed.is_set():
            for camera in tuple(left):
                ended = camera.ended  # asked before its slot, as a last frame may come with the end
                item = camera.poll()
                if item is not None:
                    yield item
                elif ended:
                    left.remove(camera)
                    errors += self._told(camera, go_on=bool(left))
            with self._changed:
                while not self._closed.is_set() and left and not any(camera.ready for camera in left):
                    self._changed.wait(LOOK_UP)
        if errors and len(errors) == len(self.cameras) and not self._closed.is_set():
            raise errors[-1]

    def _told(self, camera: Latest, *, go_on: bool) -> list[BaseException]:
        """Return the error that ended a camera, told where others go on; one that is no loss is raised."""
        error = camera.error
        if error is None:
            return []
        if not isinstance(error, SourceError):
            raise error
        if go_on and not self._closed.is_set():
            self._report(f"{error}; the other cameras go on")
        return [error]

    def close(self) -> None:
        """End the iteration and every camera; safe to call twice."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        for camera in self.cameras:
            camera.close()


def _tell_apart(cameras: Sequence[Latest]) -> None:
    """Number cameras that are shown alike, as what tells them apart is secret: votes and events go by the name."""
    seen: Counter[str] = Counter()
    for camera in cameras:
        seen[camera.name] += 1
        if seen[camera.name] > 1:
            camera.name = f"{camera.name} ({seen[camera.name]})"


def open_several(uris: Sequence[str], patience: Patience) -> Several:
    """Open cameras that share a run.

    Raises:
        UsageError: one is named twice, or is no camera.
        SourceError: one is not there (and ``patience.at_start`` is not set).
    """
    twice = {uri for uri in uris if uris.count(uri) > 1}
    if twice:
        raise UsageError(f"--camera {without_password(twice.pop())} is given twice; a camera has one reader")
    opened: list[Latest] = []
    with contextlib.ExitStack() as undo:
        for uri in uris:
            source = open_source(uri, patience)
            undo.callback(source.close)
            if not isinstance(source, Latest):
                raise UsageError(f"--camera {without_password(uri)} is no camera; only cameras can share a run")
            opened.append(source)
        undo.pop_all()
    return Several(opened)
