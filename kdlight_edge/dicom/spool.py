"""Answers that wait in a folder to be sent: what one run could not send, the next one does."""

import contextlib
import io
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from kdlight_edge import durable
from kdlight_edge.errors import KDLightError

REFUSED = "refused"
"""Folder in the spool for what the node did not take; moved back into the spool, it is sent again by the next run."""

REFUSED_BYTES = 256 << 20
"""Of files in `REFUSED`, above which the oldest make room: an archive may take none of a kind, for months."""

_NAME = re.compile(r"([0-9]{8,})-.*\.dcm")
"""A number, of more digits after the first hundred million of a run, and the object's own name."""


class Spool:
    """Objects in the order in which they came, oldest first; used by the thread that puts in and the one that sends.

    What was put in is on the disk, and is taken away once it was sent: a kill between the two sends it twice.
    """

    kept = True

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        """Make the folder, or find what waits in it.

        Args:
            folder: for its owner alone; answers name patients.
            report: takes a line when a file cannot be read or taken away.

        Raises:
            KDLightError: it cannot be written, or another run has it.
        """
        self.where = str(folder)
        self._folder, self._report = folder, report
        self._changed = threading.Condition()
        self._over = self._told = False
        """Whether the run is over; whether it was told that refused answers make room."""
        self._aside = REFUSED_BYTES
        """Bytes in `REFUSED`; until they are counted, so many that they will be."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KDLightError(f"{folder} cannot be made: {error.strerror}; choose another --dicom-spool") from error
        try:
            durable.lock(self._guard)
        except BlockingIOError as error:
            os.close(self._guard)
            raise KDLightError(f"{folder} is in use by another run; give each its own --dicom-spool") from error
        for torn in folder.glob("*.part"):
            torn.unlink()
        numbered = sorted((int(of[1]), of[0]) for path in folder.iterdir() if (of := _NAME.fullmatch(path.name)))
        self._names = deque(name for _, name in numbered)
        self._last = numbered[-1][0] if numbered else 0

    def __len__(self) -> int:
        return len(self._names)

    def put(self, made: Dataset) -> str:
        """Take an object; returns an empty string, as there is room for it.

        Raises:
            KDLightError: the disk is full or broken.
        """
        self._last += 1
        path = self._folder / f"{self._last:08}-{made.SOPInstanceUID}.dcm"
        with contextlib.suppress(OSError):  # told when it is written into
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a person may have tidied it away
        write_object(made, path, "--dicom-spool")
        with self._changed:
            self._names.append(path.name)
            self._changed.notify()
        return ""

    def first(self) -> Dataset | None:
        """Wait for the oldest object and return it; None once the run is over and nothing waits."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._names or self._over)
                if not self._names:
                    return None
                path = self._folder / self._names[0]
            try:
                return pydicom.dcmread(path)
            except Exception as error:  # noqa: BLE001 - a spoiled file raises anything
                self._report(f"{path} cannot be read ({type(error).__name__}); it is not sent")
                self.settle(sent=False)

    def settle(self, *, sent: bool) -> None:
        """Take away the oldest object, or put it aside where it was refused."""
        with self._changed:
            path = self._folder / self._names.popleft()
        try:
            if sent:
                path.unlink()
            elif path.exists():
                (self._folder / REFUSED).mkdir(mode=0o700, exist_ok=True)
                path.replace(self._folder / REFUSED / path.name)
                self._aside += (self._folder / REFUSED / path.name).stat().st_size
        except OSError as error:
            self._report(f"{path} cannot be taken away: {error.strerror}; the next run sends it again")
        with contextlib.suppress(OSError):  # a person moves some back just now; the next one tries again
            self._make_room()

    def _make_room(self) -> None:
        """Take the oldest refused answers away until nine tenths of the room are taken, so that it is done seldom."""
        if self._aside <= REFUSED_BYTES:
            return
        found = [(path, path.stat()) for path in (self._folder / REFUSED).iterdir() if _NAME.fullmatch(path.name)]
        self._aside = sum(of.st_size for _, of in found)  # a person may have moved some back
        if self._aside <= REFUSED_BYTES:
            return
        for path, of in sorted(found, key=lambda item: (item[1].st_mtime_ns, item[0])):
            if self._aside <= REFUSED_BYTES * 9 // 10:
                break
            path.unlink(missing_ok=True)
            self._aside -= of.st_size
        if not self._told:
            self._report(f"{self.where}/{REFUSED} holds {REFUSED_BYTES:,} bytes: the oldest answers in it make room")
        self._told = True

    def end(self) -> None:
        """Let `first` return None where nothing waits."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def close(self) -> None:
        """Let another run have the folder."""
        os.close(self._guard)


def write_object(made: Dataset, path: Path, flag: str) -> None:
    """Write a file whole or not at all, over a cut of power too; it names a patient: only its owner may read it.

    Args:
        made: the object.
        path: of the file.
        flag: that named its folder, for the error.

    Raises:
        KDLightError: it cannot be written.
    """
    beside = path.with_suffix(".part")
    content = io.BytesIO()  # pydicom tells of a disk in words of its own, which quote the element in work
    made.save_as(content, enforce_file_format=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # each time: a person may have tidied it away
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content.getbuffer())
        durable.sync(beside)  # before it has its name: half a picture reads like a whole one
        beside.replace(path)
        durable.sync(path.parent)
    except OSError as error:
        for left in (beside, path):
            with contextlib.suppress(OSError):
                left.unlink()
        raise KDLightError(f"{path} cannot be written: {error.strerror}; make room or choose another {flag}") from error
