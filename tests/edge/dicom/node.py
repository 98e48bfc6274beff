"""A listener with a classifier behind it, in a thread."""

import threading
from pathlib import Path
from typing import Any

from kdlight_edge.classifier import open_classifier
from kdlight_edge.dicom.listen import Listen
from kdlight_edge.sources.dicom_listener import DicomListener
from kdlight_edge.stream import run
from tests.waiting import LIMIT


class Written:
    """A sink that remembers, and may be held up."""

    wants_frames = False

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.began = threading.Event()

    def write(self, prediction: Any, frame: Any) -> None:
        """Take a line, when it may."""
        del frame
        self.began.set()
        assert self.go_on.wait(LIMIT)
        self.lines.append(prediction)

    def close(self) -> None:
        """Nothing is held back."""


class Node:
    """A listener with a classifier behind it, in a thread."""

    def __init__(self, model: Path, settings: Listen) -> None:
        self.told: list[str] = []
        self.sink = Written()
        self.source = DicomListener(settings, self.told.append)
        self.port = self.source.port
        self._classifier = open_classifier(model, threads=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._classifier:
            run(self.source, self._classifier, [self.sink], stop=self._stop)

    def end(self) -> None:
        """Stop as a signal does."""
        self._stop.set()
        self.sink.go_on.set()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
