"""How far long work is: a bar with the time left on a terminal, a plain line now and then in a log."""

import math
import shutil
import sys
import time
from typing import TextIO

REDRAW = 0.1
"""Seconds between two pictures of the bar."""

LINE = 10.0
"""Seconds between two lines where stderr is not a terminal."""

BLOCKS = " ▏▎▍▌▋▊▉█"


class Progress:
    """Counts work done; `update` costs next to nothing between two redraws."""

    def __init__(
        self, total: int, unit: str, *, label: str = "", quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        """Begin.

        Args:
            total: how much work there is; 0 where nobody knows.
            unit: what is counted, in the plural ("pictures").
            label: name of the work, shown before the count.
            quiet: show nothing at all.
            stream: where to show it; None is stderr.
        """
        self.total = total
        self.done = 0
        self._unit = unit
        self._label = label
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._started = time.monotonic()
        self._next = math.inf if quiet else self._started + (REDRAW if self._terminal else LINE)
        self._figures: dict[str, object] = {}
        self._shown = False

    def update(self, count: int = 1, **figures: object) -> None:
        """Count ``count`` more as done; ``figures`` are shown beside the count until they are replaced."""
        self.done += count
        if figures:
            self._figures.update(figures)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (REDRAW if self._terminal else LINE)
            self._show(now)

    def close(self) -> None:
        """Show the last state, where any was shown, and leave the cursor on a fresh line."""
        if self._shown:
            self._show(time.monotonic())
            if self._terminal:
                self._stream.write("\n")
                self._stream.flush()
        self._shown = False

    def line(self, now: float) -> str:
        """Return the count, speed, time left and figures as text; ``now`` in seconds of ``time.monotonic``."""
        speed = self.done / max(1e-9, now - self._started)
        of = f"/{self.total:,}" if self.total else ""
        parts = [f"{self.done:,}{of} {self._unit}", f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"]  # noqa: PLR2004
        if self.total and speed > 0:
            parts.append(f"{clock((self.total - self.done) / speed)} left")
        parts += [f"{name} {_figure(value)}" for name, value in self._figures.items()]
        return "  ".join([self._label, *parts] if self._label else parts)

    def _show(self, now: float) -> None:
        self._shown = True
        text = self.line(now)
        if not self._terminal:
            self._stream.write(text + "\n")
        else:
            columns = shutil.get_terminal_size().columns - 1
            if self.total and columns > len(text) + 12:
                text = f"{_bar(self.done / self.total, min(30, columns - len(text) - 2))}  {text}"
            self._stream.write(f"\r\x1b[K{text[:columns]}")
        self._stream.flush()


def clock(seconds: float) -> str:
    """Return a span of time as people write it: 0:07, 12:30, 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(share: float, width: int) -> str:
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BLOCKS[rest] if rest else "")).ljust(width, "░")


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
