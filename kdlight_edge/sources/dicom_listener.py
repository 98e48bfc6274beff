"""A DICOM node that scanners send to (C-ECHO, C-STORE): every object is classified or sent back, none is kept.

An object is acknowledged once it was answered: the sender is told of success only after the lines for all its frames
are written. One that cannot wait in the queue is sent back as ``out of resources`` (0xA700), which senders repeat, and
so is one whose lines could not be written, or that was not answered when the program ends. Nothing is written to a
disk here.
"""

import io
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from kdlight_edge.dicom.caller import ANNOUNCED, Caller
from kdlight_edge.dicom.listen import Listen, read_listen
from kdlight_edge.dicom.scan import check_inflated, frame_of, frames_of, no_scan, with_bytes
from kdlight_edge.errors import DataError, SourceError
from kdlight_edge.frame import Frame, Moment, Unreadable
from kdlight_edge.plain import place_of
from kdlight_edge.sources import Patience

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Status of a C-STORE (PS3.4, B.2.3)."""

ANSWER_SECONDS = 30.0
"""How long a sender waits for an answer at most; senders give up by themselves after a minute or so."""

GRACE_SECONDS = 0.7
"""How long callers have to hear their last answer when the program ends."""

DEFAULT_TITLE = "KDLIGHT"

SYNTAXES = [
    uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1,
    uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.RLELossless,
]  # fmt: skip
"""What is accepted: all that is decoded here."""

# Its complaints quote what callers send; ours name neither patients nor callers.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


class _Job:
    """An object, as it was sent, on its way from the thread of its association to the one that iterates."""

    def __init__(self, event: evt.Event) -> None:
        self.event = event
        self.received = Moment.now()
        self.status = OUT_OF_RESOURCES
        self.done = threading.Event()
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller is the first: whoever iterates takes the object, or its association takes it back."""
        return self._claim.acquire(blocking=False)


class DicomListener:
    """A live source; nothing is dropped: what cannot be taken is refused, and its sender knows."""

    live = True

    def __init__(self, settings: Listen, report: Callable[[str], None]) -> None:
        """Begin to listen; objects wait until the source is iterated.

        Raises:
            SourceError: the address cannot be had.
        """
        self._closed = threading.Event()
        self._waiting: queue.Queue[_Job | None] = queue.Queue(settings.queue + 1)  # one place is for the end
        self._room = threading.BoundedSemaphore(settings.queue)
        self._index = 0
        self._working = self._withheld = False
        """Whether an object is in work, and whether it is to be sent back, though it was answered."""
        self._ending: threading.Thread | None = None
        self._closing = threading.Lock()
        self._ae = _entity(settings)
        caller = Caller()
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, lambda _: SUCCESS), (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_OPEN, caller.called), (evt.EVT_DATA_RECV, caller.received),
            (evt.EVT_DIMSE_SENT, caller.answered),
        ]  # fmt: skip
        try:
            server = self._ae.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
        except OSError as error:
            why = error.strerror
            if isinstance(error, PermissionError):
                why = f"{why}; ports below 1024 are root's, 11112 is anyone's"
            raise SourceError(f"{place_of(settings.host, settings.port)} cannot be listened on: {why}") from error
        if server is None:
            raise SourceError(f"{place_of(settings.host, settings.port)} cannot be listened on")
        self._server = server
        self._beat, self._asked = time.monotonic(), False
        self._count_beats()
        self.port: int = server.server_address[1]
        """Where it listens."""
        self.uri = f"dicom://{place_of(settings.host, self.port)}"
        callers = (
            f"from {', '.join(settings.allow)} only" if settings.allow else "from anyone (?allow=TITLE,... limits)"
        )
        report(f"listening on {self.uri} as {settings.aet or 'any title'}, {callers}")

    def _count_beats(self) -> None:
        """Have the loop that takes calls note twice a second that it runs."""
        tidy = self._server.service_actions

        def note() -> None:
            self._beat = time.monotonic()
            tidy()

        self._server.service_actions = note  # type: ignore[method-assign]

    @property
    def idle(self) -> float | None:
        """See `Idle`: when the loop that takes calls ran last, while an object is waited for."""
        return self._beat if self._asked else None

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE; runs in the thread of its association."""
        if not self._room.acquire(blocking=False):
            return OUT_OF_RESOURCES
        job = _Job(event)
        self._waiting.put_nowait(job)
        until = time.monotonic() + ANSWER_SECONDS
        while not job.done.wait(0.1):
            if (self._closed.is_set() or time.monotonic() > until) and job.claim():
                return OUT_OF_RESOURCES
        return job.status

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        while not self._closed.is_set() and (job := self._next()) is not None:
            self._room.release()
            if job.claim():
                yield from self._answer(job)

    def _next(self) -> _Job | None:
        self._asked = True
        job = self._waiting.get()
        self._asked = False
        return job

    def withhold(self) -> None:
        """See `Answerable`."""
        self._withheld = True

    def _answer(self, job: _Job) -> Iterator[Frame | Unreadable]:
        """Yield the frames of an object; when the one after the last is asked for, all of them were delivered."""
        self._working, self._withheld = True, False
        try:
            dataset, why = _decoded(job.event)
            unread, count = 0, 1 if dataset is None else frames_of(dataset)
            for number in range(count):
                item = self._item(job.received, dataset, number, why)
                unread += isinstance(item, Unreadable)
                self._index += 1
                yield item
            if not self._withheld:
                # Whoever sends a study ends it at a failure: its reports must not cost the scans behind them.
                bad = unread == count and not (dataset is not None and no_scan(dataset))
                job.status = CANNOT_UNDERSTAND if bad else SUCCESS
        finally:
            self._working = False
            job.done.set()

    def _item(self, received: Moment, dataset: Dataset | None, number: int, why: str) -> Frame | Unreadable:
        if dataset is None:
            return Unreadable(why, received, self.uri, self._index)
        return frame_of(dataset, number, captured=received, source=self.uri, index=self._index, more={})

    def close(self) -> None:
        """Take no more; callers have a moment to hear what became of what they sent."""
        with self._closing:  # who stops a run and the run itself may come at the same moment
            if self._ending is None:
                self._closed.set()
                self._waiting.put(None)
                self._ending = threading.Thread(target=self._end, name="end of listening", daemon=True)
                self._ending.start()
                return
        if (
            not self._working
        ):  # else its sender could not hear in time what becomes of it: a run closes again at its end
            self._ending.join(2 * GRACE_SECONDS)

    def _end(self) -> None:
        self._server.shutdown()
        until = time.monotonic() + GRACE_SECONDS
        while self._ae.active_associations and time.monotonic() < until:
            time.sleep(0.02)
        self._ae.shutdown()


def _decoded(event: evt.Event) -> tuple[Dataset | None, str]:
    """Return the object that was sent; None and why not. Decoded one at a time: the others wait as they were sent."""
    try:
        request: Any = event.request
        if event.context.transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
            check_inflated(io.BytesIO(request.DataSet.getvalue()))
        dataset = with_bytes(event.dataset)
        dataset.file_meta = event.file_meta
    except DataError as error:
        return None, str(error)
    except Exception:  # noqa: BLE001 - a torn object raises anything; it gets its line and its status
        return None, "not a DICOM object that can be read"
    return dataset, ""


def _entity(settings: Listen) -> AE:
    entity = AE(ae_title=settings.aet or DEFAULT_TITLE)
    entity.maximum_associations = settings.associations
    entity.require_called_aet = settings.aet is not None
    entity.require_calling_aet = list(settings.allow)
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = 10, 30, 60
    entity.maximum_pdu_size = ANNOUNCED
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        if context.abstract_syntax is not None:
            entity.add_supported_context(context.abstract_syntax, SYNTAXES)
    return entity


def load(uri: str, patience: Patience, report: Callable[[str], None]) -> DicomListener:
    """Listen as ``dicom://HOST:PORT?aet=NAME&allow=A,B`` says; there is no camera to wait for.

    Raises:
        UsageError: see `read_listen`.
        SourceError: the address cannot be had.
    """
    del patience
    return DicomListener(read_listen(uri), report)
