"""The service's side of updates: which version it opens, how a failing one is left, how a good one is proved."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kdlight_devices.kernel import boot
from kdlight_edge import durable
from kdlight_edge.classifier import Classifier
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import BundleError, EngineMismatch, KDLightError, ParityError, UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.update import ledger
from kdlight_edge.update.shadow import Shadow
from kdlight_edge.update.state import State

UNFIT = (BundleError, EngineMismatch, ParityError)
"""Errors of a version itself, for which another one may serve."""

LOOK_SECONDS = 0.5
"""How often the link and the requests are looked at."""

Opener = Callable[[str | Path], Classifier]
Tell = Callable[[str], None]


def open_serving(state: State, factory: str | None, opener: Opener, tell: Tell) -> tuple[Classifier, str | None]:
    """Open the version that shall serve; where it cannot, roll back and open the one before it.

    The last resort is ``factory``, the bundle installed with the service.

    Returns:
        The classifier, and its version; None for the factory's.

    Raises:
        UsageError: there is no version and no factory's bundle.
        KDLightError: the last resort cannot be opened either.
    """
    with _unwritable_is_told(state, tell):
        state.prepare()
    for version in _order(state, tell):
        try:
            return opener(state.path(version)), version
        except UNFIT as error:
            reason = str(error)
        tell(f"{version} cannot serve and is rolled back: {reason}")
        with _unwritable_is_told(state, tell):
            state.roll_back(reason)
    if factory is None:
        raise UsageError(f"--model is missing, and {state.folder} holds no bundle; kdlight-edge update brings one")
    return opener(factory), None


def _order(state: State, tell: Tell) -> list[str]:
    """Return the versions to try; counts the start of one on probation before it is opened, and leaves a fallen one."""
    book, version = state.ledger(), state.current()
    if version is None:
        return []
    held = book.probation
    reason = ""
    if held is not None and held.version == version:
        with _unwritable_is_told(state, tell):
            held = state.change(lambda old: ledger.started(old, boot())).probation or held
        reason = ledger.fell(held)
    elif version not in state.whole():
        reason = "its folder is gone"
    elif version in book.failed:
        reason = book.last.reason if book.last is not None and book.last.version == version else "it failed"
    if reason:
        tell(f"{version} is rolled back: {reason}")
        with _unwritable_is_told(state, tell):
            state.roll_back(reason)
    left = {*book.failed, *([version] if reason else [])}
    there = state.whole()
    tried = dict.fromkeys([version, *book.good])
    return [name for name in tried if name in there and name not in left]


@contextlib.contextmanager
def _unwritable_is_told(state: State, tell: Tell) -> Iterator[None]:
    """A full or worn-out card must not keep a camera from being answered."""
    try:
        yield
    except (OSError, KDLightError) as error:
        tell(f"{state.folder} could not be written: {error}")


class Tenure:
    """A version's time in office: proves it by work, sees that another shall serve, compares with one in its shadow.

    It stands among the sinks, where it learns of every result, and looks at the files twice a second from a thread of
    its own; it writes at the start, when a version has proved itself, and when asked, and so not to the disk otherwise.
    """

    wants_frames = False

    def __init__(
        self,
        state: State,
        version: str | None,
        classifier: Classifier,
        stop: threading.Event,
        *,
        opener: Opener,
        factory: str | None,
        tell: Tell,
    ) -> None:
        """Take what serves, and the event that ends the run so that the service is started anew."""
        self._state, self._version, self._classifier, self._stop = state, version, classifier, stop
        self._factory, self._tell = factory, tell
        self._shadow = Shadow(state, opener, tell)
        self._since = time.monotonic()
        self._results = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tenure", daemon=True)
        self._held = contextlib.ExitStack()

    @property
    def sinks(self) -> "list[Tenure]":
        """Itself, to stand behind the sinks that tell somebody."""
        return [self]

    def write(self, prediction: Prediction, frame: Frame | None) -> None:
        """Take a result as work done."""
        if prediction.decision != "error":
            self._results += 1
            self._shadow.offer(prediction, frame)

    def close(self) -> None:
        """Nothing is held back."""

    def __enter__(self) -> "Tenure":
        """Leave word of what serves, and begin to look."""
        bundle = self._classifier.bundle
        with _unwritable_is_told(self._state, self._tell):
            self._held.enter_context(_alone(self._state))
            self._state.tell_running(
                {
                    "version": self._version,
                    "name": bundle.manifest.name,
                    "bundle_version": bundle.manifest.version,
                    "digest": bundle.manifest.digest,
                    "engine": self._classifier.engine.name,
                    "factory": self._factory,
                }
            )
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        self._over.set()
        self._thread.join()
        self._shadow.close()
        version = self._version
        if error is None and version is not None and self._probation() is not None:
            with _unwritable_is_told(self._state, self._tell):
                self._state.change(lambda old: ledger.ended(old, version))
        self._held.close()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            now = self._state.current()
            if now != self._version:
                self._tell(f"{now or 'the bundle installed with the service'} shall serve; starting anew with it")
                self._stop.set()
                return
            try:
                self._prove()
                self._shadow.look()
            except (OSError, KDLightError) as error:
                self._tell(f"{self._state.folder} could not be written: {error}")

    def _prove(self) -> None:
        version, held = self._version, self._probation()
        if version is None or held is None or not self._results or time.monotonic() - self._since < held.seconds:
            return
        self._state.change(lambda old: ledger.proved(old, version), "proved", version)
        self._state.prune()
        self._tell(f"{version} has proved itself in {held.seconds:.0f} s of work")

    def _probation(self) -> ledger.Probation | None:
        held = self._state.ledger().probation
        return held if held is not None and held.version == self._version else None


@contextlib.contextmanager
def _alone(state: State) -> Iterator[None]:
    """Hold the lock that says that a service runs; one that only asks holds it for a moment."""
    busy = f"another service already runs with {state.folder}; give each a --state of its own"
    with contextlib.ExitStack() as held:
        for attempt in range(20):
            try:
                held.enter_context(durable.locked(state.alive, busy))
                break
            except KDLightError:
                if attempt == 19:  # noqa: PLR2004 - the last of them
                    raise
                time.sleep(0.05)
        yield
