"""A run of ``kdlight-edge infer`` in a process of its own, whose results and complaints are read as they come."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from kdlight_edge.events import SCHEMA as EVENT
from kdlight_edge.selftest.outcome import Wrong

PATIENCE = 60.0
"""Seconds within which what must come has come; a Pi Zero takes half of it to start."""

HASTY, CALM = 1.0, 10.0
"""Seconds of silence or of one picture after which a camera counts as lost: short where a loss is tested, else long,
so that a board which is busy for a second is not taken for one."""


class Run:
    """A context manager: the process ends with it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        start: Sequence[str] = ("-m", "kdlight_edge.cli"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start ``kdlight-edge ARGUMENTS --json``; ``start`` replaces its module, ``environment`` is added to ours."""
        self.records: list[dict[str, Any]] = []  # results; events are told between them
        """The JSON lines so far."""
        self.arrived: list[float] = []
        """Seconds of ``time.monotonic`` when each of them came."""
        self.told: list[tuple[float, str]] = []
        """Lines for people so far, each with when it came."""
        self.torn = 0
        """Lines on stdout that were no JSON."""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, *start, *arguments, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace",
            env={**{key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}, **(environment or {})},
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._read, args=(stream, take), daemon=True, name="reader")
            for stream, take in ((self.process.stdout, self._take), (self.process.stderr, self._hear))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], take: Callable[[str], None]) -> None:
        with contextlib.suppress(ValueError):  # closed under the reader at the very end
            for line in stream:
                with self._changed:
                    take(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            self.torn += 1
            return
        if record.get("schema") != EVENT:
            self.records.append(record)
            self.arrived.append(time.monotonic())

    def _hear(self, line: str) -> None:
        self.told.append((time.monotonic(), line.strip().removeprefix("kdlight-edge: ")))

    def wait(self, done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until ``done``, asked after each line.

        Raises:
            Wrong: it did not come to pass in time, or the process ended before.
        """
        with self._changed:
            until = time.monotonic() + seconds
            while not done():
                left = until - time.monotonic()
                ended = self.process.poll() is not None
                if left <= 0 or ended:
                    why = (
                        f"the run ended with exit code {self.process.returncode}" if ended else f"{seconds:g} s passed"
                    )
                    raise Wrong(f"{what} did not come: {why}; last told: {self.last_told()}")
                self._changed.wait(min(left, 0.2))

    def last_told(self) -> str:
        """Return what was said last, for errors."""
        return self.told[-1][1] if self.told else "nothing"

    def said(self, *words: str, since: int = 0) -> float | None:
        """Return when a line with all of these words came, the lines before ``since`` left out; None if none has."""
        return next((when for when, line in self.told[since:] if all(word in line for word in words)), None)

    def port(self, words: str) -> int:
        """Return the port of the address that is told behind ``words``; raises as `wait`."""
        self.wait(lambda: self.said(words) is not None, f"the line with {words!r}")
        line = next(line for _, line in self.told if words in line)
        address = line.split(words)[1].split()[0].rstrip(",").partition("://")[2]
        return int(address.partition("/")[0].rpartition(":")[2])

    def more(self, count: int, what: str = "results") -> None:
        """Wait for so many results more than there are now; raises as `wait`."""
        wanted = len(self.records) + count
        self.wait(lambda: len(self.records) >= wanted, f"{count} more {what}")

    def stop(self) -> int:
        """End it as a service manager does, and return its exit code.

        Raises:
            Wrong: it does not end.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the run did not end within {PATIENCE:g} s of SIGTERM") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def infer(camera: str, model: str, *flags: str, patience: float = CALM, **keywords: Any) -> Run:
    """Start a run on a camera; ``patience`` as `HASTY` says, ``flags`` come after, ``keywords`` go to `Run`."""
    timeouts = ["--stall-timeout", f"{patience:g}", "--freeze-timeout", f"{patience:g}"]
    return Run(["infer", "--camera", camera, "--model", model, *timeouts, *flags], **keywords)
