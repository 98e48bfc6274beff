"""A claim: the small file that says which training goes on in a place, so that another one does not."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


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
