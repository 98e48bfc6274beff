"""Sending objects to a DICOM node, beside the run: a node that is slow or away never holds up the camera."""

import queue
import re
import threading
from collections.abc import Callable
from typing import NamedTuple

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from kdlight_edge.dicom.listen import check_title
from kdlight_edge.errors import UsageError
from kdlight_edge.plain import place_of

OUR_TITLE = "KDLIGHT"

WAITS = (1.0, 2.0, 4.0)
"""Seconds between the attempts, of which there is one more than waits, where the node can be reached."""

AWAY_SECONDS = 5.0
"""Seconds between further attempts at a node that cannot: it may only be started again."""

HELD = 64
"""Objects that wait to be sent; one more waits for room: scans come from folders and senders, which can wait too."""

ROOM_SECONDS = 5.0
"""How long it waits while nothing is sent; it is given up then, and told, and so are others until something is sent."""

CLOSE_SECONDS = 10.0
"""How long the end of a run waits for what is still to be sent, counted from the last that was."""


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


class Sender:
    """A queue and the thread that empties it; what could not be sent is counted and told."""

    def __init__(self, node: Node, report: Callable[[str], None], waits: tuple[float, ...] = WAITS) -> None:
        """Take where to send, who is told of losses, and the seconds between attempts."""
        self.node = node
        self.lost = 0
        """Objects given up."""
        self._name = f"{node.title}@{place_of(node.host, node.port)}"
        self._report = report
        self._waits = waits
        self._waiting: queue.Queue[Dataset | None] = queue.Queue()
        self._unsent = self._sent = 0
        self._away = False
        """Whether the last attempt did not reach the node."""
        self._why = ""
        """Why the last attempt failed; empty where it did not."""
        self._over = threading.Event()
        self._room = threading.Condition()
        self._stuck = False
        """Whether room was waited for in vain, and nothing was sent since."""
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def send(self, made: Dataset) -> None:
        """Take an object, when there is room for it."""
        with self._room:
            room = self._room.wait_for(lambda: self._unsent < HELD, 0 if self._stuck else ROOM_SECONDS)
            self._stuck = not room
            self._unsent += room
        if room:
            self._waiting.put(made)
        else:
            self._lose(1, f"{HELD} objects wait already")

    def _run(self) -> None:
        while (made := self._waiting.get()) is not None:
            self._deliver(made)
            if self._over.is_set():
                return
            with self._room:
                self._unsent -= 1
                self._room.notify()
            if self._why:
                self._lose(1, self._why)
            else:
                self._sent += 1

    def _deliver(self, made: Dataset) -> None:
        """Try to send an object until it was sent, or refused often enough, or the run is over."""
        waits, told = iter(self._waits), False
        while self._attempt(made):
            wait = next(waits, None)
            if wait is None and self._away:
                wait = AWAY_SECONDS
                if not told:
                    self._report(f"{self._name} is away ({self._why}); answers wait, {HELD} at most")
                told = True
            if wait is None or self._over.wait(wait):
                return
        if told:
            self._report(f"{self._name} takes answers again")

    def _attempt(self, made: Dataset) -> str:
        """Send one object; returns why it could not be, or an empty string."""
        self._away = True
        try:
            self._why = self._associate_and_store(made)
        except OSError as error:  # a name that is not known now may be known later: DNS fails like any network
            self._why = f"{self.node.host} cannot be reached ({error.strerror or type(error).__name__})"
        except UnicodeError:  # a ValueError of Python's IDNA
            self._why, self._away = f"{self.node.host} is no name of a host", False
        except (ValueError, RuntimeError) as error:
            self._why = f"it does not take this kind of object ({type(error).__name__})"
        return self._why

    def _reached(self, _: evt.Event) -> None:
        self._away = False

    def _associate_and_store(self, made: Dataset) -> str:
        entity = AE(ae_title=OUR_TITLE)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
        entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
        association = entity.associate(
            self.node.host, self.node.port, ae_title=self.node.title, evt_handlers=[(evt.EVT_CONN_OPEN, self._reached)]
        )
        if self._away:
            return "no connection"
        if not association.is_established:
            return "no association: it knows neither our title nor this kind of object, or is too busy"
        try:
            status = association.send_c_store(made).get("Status")
        finally:
            association.release()
        if status is None:
            return "no answer"
        # Success, or a warning that the object was stored with other attributes (PS3.4, B.2.3).
        return "" if status == 0 or status >> 8 == 0xB0 else f"refused with status 0x{status:04X}"  # noqa: PLR2004

    def _lose(self, count: int, reason: str) -> None:
        with self._room:  # of the run's thread and of ours
            self.lost += count
        what = "an answer was" if count == 1 else f"{count} answers were"
        self._report(f"{what} not sent to {self._name}: {reason}")

    def close(self) -> None:
        """Send what waits until nothing was sent for `CLOSE_SECONDS`; what is left is counted and told."""
        if self._over.is_set():
            return
        self._waiting.put(None)
        sent = None
        while self._thread.is_alive() and sent != self._sent:
            sent = self._sent
            self._thread.join(CLOSE_SECONDS)
        self._over.set()
        if self._unsent:
            self._lose(self._unsent, f"the run is over{self._why and f' ({self._why})'}")
