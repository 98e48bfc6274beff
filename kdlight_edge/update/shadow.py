"""A candidate in the shadow of the version that serves: the same frames, its decisions compared and told to nobody."""

import contextlib
import dataclasses
import json
import queue
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlight_edge import durable
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError
from kdlight_edge.frame import Frame

if TYPE_CHECKING:
    from kdlight_edge.classifier import Classifier
    from kdlight_edge.update.state import State

Opener = Callable[[str | Path], "Classifier"]


class Shadow:
    """Answers requests of an update beside it: ``update/shadow.json`` asks, ``update/shadow-answer.json`` tells."""

    def __init__(self, state: "State", opener: Opener, tell: Callable[[str], None]) -> None:
        """Take where requests come, and how the service opens a bundle: with its own engine and settings."""
        self._state, self._opener, self._tell = state, opener, tell
        # One pair at most: the candidate takes what it can, and the version that serves never waits for it.
        self._pairs: queue.Queue[tuple[Prediction, Frame]] = queue.Queue(1)
        self._asked: str | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def offer(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a result of the version that serves; it is let go where the candidate is busy or there is none."""
        if self._thread is None or frame is None or self._pairs.full() or not of_the_network(prediction):
            return
        # A camera decodes its next frame over this one once the sinks have seen it.
        kept = dataclasses.replace(frame, image=frame.image.copy())
        with contextlib.suppress(queue.Full):
            self._pairs.put_nowait((prediction, kept))

    def look(self) -> None:
        """Begin what is newly asked for; end what is not asked for any more."""
        try:
            request = json.loads(self._state.shadow_request.read_text(encoding="utf-8"))
            number, model, frames = str(request["id"]), str(request["model"]), int(request["frames"])
        except (OSError, ValueError, KeyError, TypeError):
            self.close()
            return
        if number == self._asked:
            return
        self.close()
        self._asked = number
        self._over.clear()
        self._thread = threading.Thread(target=self._compare, args=(number, model, frames), name="shadow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop comparing."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = self._asked = None

    def _compare(self, number: str, model: str, frames: int) -> None:
        try:
            self._answer({"id": number, **self._run(model, frames)})
        except (KDLightError, OSError) as error:
            with contextlib.suppress(OSError):
                self._answer({"id": number, "error": str(error)})

    def _run(self, model: str, frames: int) -> dict[str, Any]:
        compared, same = 0, 0
        differences: Counter[str] = Counter()
        with self._opener(self._state.folder / model) as candidate:
            # In the shadow a frame is older, and its quality was judged already: pictures alone are compared.
            candidate.settings = dataclasses.replace(candidate.settings, max_age=None, quality=False)
            while compared < frames and not self._over.is_set():
                try:
                    served, frame = self._pairs.get(timeout=0.2)
                except queue.Empty:
                    continue
                told, would = said(served), said(candidate.classify(frame))
                compared += 1
                same += told == would
                if told != would:
                    differences[f"{told} -> {would}"] += 1
        return {"frames": compared, "same": same, "differences": dict(differences.most_common(5))}

    def _answer(self, record: dict[str, Any]) -> None:
        durable.write_text(self._state.shadow_answer, json.dumps(record) + "\n")


def of_the_network(prediction: Prediction) -> bool:
    """Tell whether a decision followed from the network's answer, and not from an age or an unfit picture."""
    return prediction.decision in {"accepted", "outlier"} or (
        prediction.decision == "abstained" and prediction.reason.startswith("probability")
    )


def said(prediction: Prediction) -> str:
    """Return the decision as a person is told it."""
    return f"accepted {prediction.label}" if prediction.decision == "accepted" else prediction.decision
