"""The signals that end a run: the first asks it to, the second aborts it."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import cast

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set; a second signal raises KeyboardInterrupt at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets only the main thread set handlers
        return
    taken: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        taken.append(number)
        if len(taken) > 1:
            raise KeyboardInterrupt

    # A handler runs in the main thread, once that runs: not while it waits for a frame, and in the middle of what it
    # does, where a second handler that sets the event while the first still does would wait for itself. So another
    # thread sets it, which Python tells of a signal at once, in whichever thread it came.
    ear, mouth = socket.socketpair()
    mouth.settimeout(0)  # as Python asks of it

    def listen() -> None:
        while heard := ear.recv(64):
            if not set(ENDING).isdisjoint(heard):
                stop.set()

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    told_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield stop
    except Exception as error:
        if len(taken) > 1:  # an import that it breaks, for one, says that the package is faulty
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, cast("signal.Handlers", handler))
        signal.set_wakeup_fd(told_before)
        mouth.close()  # ends the listener
        listener.join()
        ear.close()
