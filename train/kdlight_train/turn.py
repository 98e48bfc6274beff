"""A folder that one training at a time works in: the others wait for what it makes there."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlight_train.claim import hold
from kdlight_train.place import Place

LOOK = 1.0
"""Seconds between two looks at a folder that another training holds."""


@contextmanager
def turn(folder: Path, place: Place, say: Callable[[str], None], busy: str) -> Iterator[None]:
    """Hold a folder, which the kernel lets go when its holder dies; wait while another training does.

    Of several processes the first alone holds it, and all go on together once it does. On a file system without locks
    nobody waits.

    Args:
        folder: is there already.
        place: rank, and the processes that wait with this one.
        say: tells people.
        busy: what to say, once, where another training holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = False
        while not place.agree(place.first and hold(handle)):
            if not told:
                say(busy)
            told = True
            time.sleep(LOOK)
        yield
    finally:
        os.close(handle)
