"""The pulse of a run: stamps results with the board's state, and lets systemd's watchdog live by real progress only."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_devices.governor import Governor
from kdlight_devices.heat import chip_celsius, temperatures, throttling
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame
from kdlight_edge.pace import Pace
from kdlight_edge.sources import Idle, Patience, Source, tell
from kdlight_edge.sources.latest import Latest
from kdlight_edge.sources.several import Several

if TYPE_CHECKING:
    from kdlight_edge.notify import Notifier
    from kdlight_edge.sinks import Sink

LOOK_SECONDS = 1.0
"""How often the board is looked at and the status line is told."""

FEEDS = 4
"""How often the watchdog is fed in its interval, at most: a message a frame would be thirty a second."""


class Pulse:
    """Watches a run from a thread of its own, one look a second; costs a frame nothing.

    As the last sink it learns that a frame became a result which every other sink has taken: that feeds the watchdog,
    and so does a golden picture answered rightly while the camera is known to be away and its frame is waited for, or
    while an `Idle` source has nothing to give. A hung camera, engine or sink stops both.
    """

    wants_frames = False

    def __init__(
        self,
        classifier: Classifier,
        source: Source,
        notifier: "Notifier | None" = None,
        patience: Patience | None = None,
        *,
        governor: Governor | None = None,
        root: Path = Path("/"),
        every: float = LOOK_SECONDS,
    ) -> None:
        """Take what is watched.

        Args:
            classifier: its ``origin["throttled"]`` is kept true.
            source: asked whether its camera is away, or nothing comes.
            notifier: None where no service manager listens.
            patience: of the source; an attempt to open a lost camera or a look for pictures that takes longer has hung.
            governor: sets the pace of the run by the board's heat; the limit is kept in ``origin["fps_limit"]``.
            root: where ``sys`` is, for `kdlight_devices.heat`.
            every: seconds between two looks.
        """
        self._classifier = classifier
        self._source = source
        self._notifier = notifier
        self._governor = governor
        self.pace = Pace(None if governor is None else governor.limit)
        """For `kdlight_edge.stream.run`."""
        self._root = root
        self._every = every
        patience = patience or Patience()
        self._interval = (notifier.watchdog if notifier is not None else None) or 0.0
        self._attempt = patience.longest_wait + 2 * patience.stall_timeout + self._interval
        self._sound = True
        self._results = 0
        self._age = 0.0
        self._due = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def sinks(self) -> "list[Sink]":
        """Itself where somebody listens, to stand behind all other sinks."""
        return [] if self._notifier is None and self._governor is None else [self]

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a result for progress; an error in the place of one is none."""
        del frame
        if prediction.decision == "error":
            return
        self._results += 1
        self._age = prediction.age
        self._feed()

    def close(self) -> None:
        """Nothing is held back."""

    def __enter__(self) -> "Pulse":
        """Look once, tell that the program is ready (its engine has answered the golden pictures), begin to watch."""
        state = self._look(0.0)
        if self._notifier is not None:
            self._notifier.send(READY=1, STATUS="waiting for the first frame")
        hot = self._governor is not None and chip_celsius(temperatures(self._root)) is not None
        if self._notifier is not None or state is not None or hot:
            self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if self._notifier is not None:
            self._notifier.send(STOPPING=1, STATUS=f"stopping: {error}" if error else "stopping")
        self._over.set()
        if self._thread is not None:
            self._thread.join(self._every)
        if self._notifier is not None:
            self._notifier.close()

    def _watch(self) -> None:
        seen, then = 0, time.monotonic()
        while not self._over.wait(self._every):
            results, now = self._results, time.monotonic()
            rate, seen, then = (results - seen) / (now - then), results, now
            state = self._look(rate)
            if self._notifier is not None:
                doing = self._replay() or self._frames(rate)
                self._notifier.send(STATUS=doing + self._board(throttled=state is True))

    def _look(self, rate: float) -> bool | None:
        """Look at the board, set the pace, and stamp what follows; return whether the board is slowed down."""
        told = throttling(self._root)
        self._classifier.origin["throttled"] = told.now
        if self._governor is not None:
            before, celsius = self.pace.limit, chip_celsius(temperatures(self._root))
            limit = self._governor.look(time.monotonic(), rate, celsius, told)
            self.pace.limit = self._classifier.origin["fps_limit"] = limit
            if before is None and limit is not None:
                why = f"{celsius:.0f} °C" if not told.now and celsius is not None else ", ".join(told.reasons)
                tell(f"the board is near its limit ({why}): {limit:.1f} frames/s until it has cooled")
        return told.now

    def _replay(self) -> str:
        """While nothing can come, let the engine answer the golden pictures; return what to say, empty otherwise."""
        seen, why, hung = self._waits()
        if seen is None:
            return ""
        if time.monotonic() - seen > self._attempt:
            return hung
        if not self._sound:
            return f"{why}, and the engine answers the golden pictures wrongly"
        if time.monotonic() >= self._due:
            try:
                self._classifier.verify()
            except KDLightError as error:
                self._sound = False
                tell(str(error))
                return f"{why}, and the engine answers the golden pictures wrongly"
            self._feed()
        return f"{why}; the engine answers the golden pictures"

    def _waits(self) -> tuple[float | None, str, str]:
        """Return when a source that is waited for was last seen to work, why it gives nothing, and what if it hangs."""
        if isinstance(self._source, Latest | Several):
            return self._source.away, "no camera", "the attempt to open the camera hangs"
        if isinstance(self._source, Idle):
            return self._source.idle, "nothing comes", "the source hangs"
        return None, "", ""

    def _frames(self, rate: float) -> str:
        return f"{rate:.1f} frames/s, age {self._age * 1000:.0f} ms" if self._results else "waiting for the first frame"

    def _board(self, *, throttled: bool) -> str:
        celsius = chip_celsius(temperatures(self._root))
        text = "" if celsius is None else f", {celsius:.0f} °C"
        if self.pace.limit is not None:
            text += f", held to {self.pace.limit:.1f} frames/s"
        return f"{text}, throttled" if throttled else text

    def _feed(self) -> None:
        now = time.monotonic()
        if self._notifier is not None and self._interval and now >= self._due:
            self._notifier.send(WATCHDOG=1)
            self._due = now + self._interval / FEEDS
