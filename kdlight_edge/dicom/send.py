"""Sending objects to a DICOM node, beside the run: a node that is slow or away never holds up the camera."""

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from kdlight_edge.dicom.listen import check_title
from kdlight_edge.dicom.spool import REFUSED, Spool
from kdlight_edge.errors import UsageError
from kdlight_edge.plain import place_of

OUR_TITLE = "KDLIGHT"

WAITS = (1.0, 2.0, 4.0)
"""Seconds between the attempts, of which there is one more than waits, where the node does not take an object."""

AWAY_SECONDS = 5.0
"""Seconds between further attempts at one that takes none at all: it may only be started again."""

HELD = 64
"""Objects that wait to be sent; one more waits for room: scans come from folders and senders, which can wait too."""

ROOM_SECONDS = 5.0
"""How long it waits while nothing is sent; it is given up then, and told, and so are others until something is sent."""

CLOSE_SECONDS = 10.0
"""How long the end of a run waits for what is still to be sent, counted from the last that was."""

UNTAKEN = "it does not take this kind of object"

NO_SUCH_CLASS = 0x0122
"""Status of a node that takes a kind of object in its negotiation and not in the end (PS3.7, C.5.6)."""


class Node(NamedTuple):
    """A node on the network."""

    title: str
    host: str
    port: int


def read_node(text: str) -> Node:
    """Read ``AET@HOST:PORT``.

    Raises:
        UsageError: it does not look like that.
    """
    found = re.fullmatch(r"([^@]+)@(\[[0-9a-fA-F:]+\]|[^:@]+):(\d{1,5})", text)
    if found is None or not 0 < int(found[3]) < 65536:  # noqa: PLR2004 - ports have 16 bits
        raise UsageError(f"--dicom-to {text} names no node; write it like ARCHIVE@10.0.0.5:104")
    return Node(check_title(found[1]), found[2].strip("[]"), int(found[3]))


class Held:
    """Objects that wait in memory, as those of a `Spool` do on the disk; the end of a run loses what is left."""

    kept = False
    where = f"{HELD} at most"

    def __init__(self) -> None:
        self._waiting = deque[Dataset]()
        self._changed = threading.Condition()
        self._over = self._stuck = False
        """Whether the run is over; whether room was waited for in vain, and nothing was sent since."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, made: Dataset) -> str:
        """Take an object when there is room for it; returns why there is none, or an empty string."""
        with self._changed:
            room = self._changed.wait_for(lambda: len(self._waiting) < HELD, 0 if self._stuck else ROOM_SECONDS)
            self._stuck = not room
            if not room:
                return f"{HELD} objects wait already"
            self._waiting.append(made)
            self._changed.notify_all()
        return ""

    def first(self) -> Dataset | None:
        """Wait for the oldest object and return it; None once the run is over and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            return self._waiting[0] if self._waiting else None

    def settle(self, *, sent: bool) -> None:
        """Forget the oldest object, sent or refused."""
        del sent
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()

    def end(self) -> None:
        """Let `first` return None where nothing waits."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is held open."""


class Sender:
    """The thread that sends what waits; what could not be sent is counted and told."""

    def __init__(
        self,
        node: Node,
        report: Callable[[str], None],
        waits: tuple[float, ...] = WAITS,
        waiting: Held | Spool | None = None,
    ) -> None:
        """Begin with what waits already.

        Args:
            node: where to send.
            report: takes a line for people about losses, and when the node goes away and comes back.
            waits: seconds between attempts.
            waiting: where objects wait; None for memory.
        """
        self.node = node
        self.lost = 0
        """Objects given up."""
        self._name = f"{node.title}@{place_of(node.host, node.port)}"
        self._report = report
        self._waits = waits
        self._waiting = Held() if waiting is None else waiting
        self._sent = 0
        self._away = False
        """Whether the last attempt did not get as far as to an answer about the object."""
        self._why = ""
        """Why the last attempt failed; empty where it did not."""
        self._kind = ""
        """SOP class of the last object, where it was refused for that."""
        self._untaken = set[str]()
        """SOP classes of which an object was refused so at all attempts: one is enough for the next ones."""
        self._untold = 0
        """Objects of those that were given up without a line each."""
        self._over = threading.Event()
        self._counting = threading.Lock()
        if found := len(self._waiting):
            report(f"{found:,} answers of an earlier run wait in {self._waiting.where} for {self._name}")
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def send(self, made: Dataset) -> None:
        """Take an object, when there is room for it.

        Raises:
            KDLightError: it is to wait on the disk, which cannot be written.
        """
        if why := self._waiting.put(made):
            self._lose(1, why)

    def _run(self) -> None:
        while (made := self._waiting.first()) is not None:
            self._deliver(made)
            if self._over.is_set():
                return
            self._waiting.settle(sent=not self._why)
            if self._why:
                self._give_up()
                self._why = ""  # of this one; the next may be taken, and `close` waits for it
            else:
                self._sent += 1

    def _give_up(self) -> None:
        """Count an object that was refused; where all of its kind are, that is told of the first."""
        if self._kind in self._untaken:
            self._untold += 1
            self._count(1)
            return
        why = self._why
        if self._kind:
            self._untaken.add(self._kind)
            why += f" ({UID(self._kind).name}; further ones are told at the end)"
        self._lose(1, why + self._aside())

    def _aside(self) -> str:
        return f"; in {self._waiting.where}/{REFUSED}" if self._waiting.kept else ""

    def _deliver(self, made: Dataset) -> None:
        """Try to send an object until it was sent, or refused often enough, or the run is over."""
        absences, refusals, away = iter(self._waits), iter(self._waits), False
        while why := self._attempt(made):
            wait = None if self._kind in self._untaken else next(absences if self._away else refusals, None)
            if wait is None and self._away:
                wait = AWAY_SECONDS
                if not away:
                    self._report(f"{self._name} is away ({why}); answers wait, {self._waiting.where}")
                away = True
            if wait is None or self._over.wait(wait):
                break
        if away and not self._away:
            self._report(f"{self._name} takes answers again")

    def _attempt(self, made: Dataset) -> str:
        """Send one object; returns why it could not be, or an empty string."""
        self._away, self._kind = True, ""
        try:
            self._why = self._associate_and_store(made)
        except OSError as error:  # a name that is not known now may be known later: DNS fails like any network
            self._why = f"{self.node.host} cannot be reached ({error.strerror or type(error).__name__})"
        except UnicodeError:  # a ValueError of Python's IDNA
            self._why, self._away = f"{self.node.host} is no name of a host", False
        except (ValueError, RuntimeError) as error:
            self._why, self._away = f"it does not take this kind of object ({type(error).__name__})", False
        except Exception as error:  # noqa: BLE001 - a file of the spool may lack anything; the others are sent
            self._why, self._away = f"it cannot be sent ({type(error).__name__})", False
        return self._why

    def _associate_and_store(self, made: Dataset) -> str:
        entity = AE(ae_title=OUR_TITLE)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
        entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
        there = threading.Event()
        association = entity.associate(
            self.node.host, self.node.port, ae_title=self.node.title,
            evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: there.set())],
        )  # fmt: skip
        if association.rejected_contexts:
            self._away, self._kind = False, str(made.SOPClassUID)
            return UNTAKEN
        if not association.is_established:  # it would say the same to any object, until somebody mends that
            return "no association: it does not know our title, or is too busy" if there.is_set() else "no connection"
        self._away = False
        try:
            status = association.send_c_store(made).get("Status")
        finally:
            association.release()
        if status is None:
            return "no answer"
        if status == 0 or status >> 8 == 0xB0:  # noqa: PLR2004 - a warning: stored with other attributes (PS3.4, B.2.3)
            if (kind := str(made.SOPClassUID)) in self._untaken:
                self._untaken.remove(kind)
                self._report(f"{self._name} takes {UID(kind).name} now")
            return ""
        if status == NO_SUCH_CLASS:
            self._kind = str(made.SOPClassUID)
            return UNTAKEN
        return f"refused with status 0x{status:04X}"

    def _count(self, count: int) -> None:
        with self._counting:  # of the run's thread and of ours
            self.lost += count

    def _lose(self, count: int, reason: str) -> None:
        self._count(count)
        self._tell(count, reason)

    def _tell(self, count: int, reason: str) -> None:
        what = "an answer was" if count == 1 else f"{count} answers were"
        self._report(f"{what} not sent to {self._name}: {reason}")

    def close(self) -> None:
        """Send what waits until nothing was sent for `CLOSE_SECONDS`; what is left is counted, or kept, and told."""
        if self._over.is_set():
            return
        self._waiting.end()
        sent = None
        # A node that is known to be away need not be waited for where what waits is kept.
        while self._thread.is_alive() and sent != self._sent and not (self._waiting.kept and self._why):
            sent = self._sent
            self._thread.join(CLOSE_SECONDS)
        self._over.set()
        if self._untold:
            self._tell(self._untold, f"{UNTAKEN}{self._aside()}")
        left = len(self._waiting)
        if left and self._waiting.kept:
            self._report(f"{left:,} answers for {self._name} wait in {self._waiting.where}; the next run sends them")
        elif left:
            self._lose(left, f"the run is over{self._why and f' ({self._why})'}")
        self._waiting.close()
