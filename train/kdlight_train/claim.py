"""A claim: the small file that says which training a place belongs to, and the lock of the one that works there."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdlight_edge.durable import lock
from kdlight_edge.errors import KDLightError

if TYPE_CHECKING:
    from kdlight_train.place import Place

LOCK = "run.lock"
"""What a training holds in RUN as long as it lives."""


def busy(run: Path) -> str:
    """Say that another training works in RUN."""
    return f"another training is at work in --out {run}; wait until it has ended, or choose another --out"


@contextlib.contextmanager
def alone(file: Path, place: "Place", told: str) -> Iterator[None]:
    """Hold a lock for as long as a training lives; the kernel lets it go when the process dies, however it does.

    Of several processes the first alone holds it. Where no such file can be made nothing is held: what is to be written
    there says why it cannot be, and a training that has ended needs nothing any more.

    Args:
        file: is made with its folder where it is missing, and stays.
        place: rank, and the processes that hear of it.
        told: what to say where another training holds it.

    Raises:
        KDLightError: another training holds it.
    """
    handle = _open(file) if place.first else None
    try:
        # All end by the same line: the others would meet a connection that the first closed.
        if not place.agree(handle is None or hold(handle)):
            raise KDLightError(told)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _open(file: Path) -> int | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)  # a shared disk: umask says
    except OSError:
        return None


def hold(handle: int) -> bool:
    """Lock an open file or folder, and tell whether it is ours now."""
    try:
        lock(handle)
    except BlockingIOError:
        return False
    return True  # also where no locks are known: files are whole all the same


@contextlib.contextmanager
def given_back(file: Path | None, state: Path) -> Iterator[None]:
    """Remove a claim when its training ends before it kept anything: the next command may be another one.

    Args:
        file: the claim that this training made, None where it found one.
        state: what the training keeps first; once it is there, the claim stays.
    """
    try:
        yield
    except BaseException:  # Ctrl-C too: a wrong flag is often seen just then
        if file is not None and not state.exists():
            with contextlib.suppress(OSError):  # what ended the training is what is to be told
                file.unlink()
        raise


def write(file: Path, text: str) -> None:
    """Write a claim beside its place and put it there in one step: half of one would block the place.

    Raises:
        OSError: the disk is full or cannot be written; nothing is left, and an older claim is still whole.
    """
    beside = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # what stopped the writing is what is to be told
            beside.unlink(missing_ok=True)
        raise
