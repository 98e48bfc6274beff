"""One heap for all threads of a run: glibc gives each of the first sixteen its own, which keeps what it once had."""

import contextlib
import ctypes

_ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's malloc.h."""


def share_one() -> None:
    """Let the threads that begin from now on take their memory from one heap; elsewhere than on glibc do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
