"""A claim: the small file that says which training goes on in a place, so that another one does not."""

import contextlib
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
