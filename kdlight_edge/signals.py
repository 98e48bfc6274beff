"""The signals that end a run: the first asks it to, the second aborts it."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import cast

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last comes when a terminal goes away, as with an ssh connection that breaks."""


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGINT, SIGTERM and SIGHUP set; a second signal raises KeyboardInterrupt at once.

    A SIGHUP that is ignored (``nohup``) stays so, and is no second signal: the kernel and the shell both send it.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets only the main thread set handlers
        return
    taken: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP and taken:
            return
        taken.append(number)
        if len(taken) > 1:
            raise KeyboardInterrupt

    # A handler runs in the main thread, once that runs: not while it waits for a frame, and in the middle of what it
    # does, where a second handler that sets the event while the first still does would wait for itself. So another
    # thread sets it, which Python tells of a signal at once, in whichever thread it came.
    ear, mouth = socket.socketpair()
    mouth.settimeout(0)  # as Python asks of it

    listener = threading.Thread(target=_listen, args=(ear, stop), name="signals", daemon=True)
    listener.start()
    told_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handle) for number in _heard()}
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


def _heard() -> list[signal.Signals]:
    """Return the signals that end a run; what ``nohup`` has switched off is none."""
    return [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def _listen(ear: socket.socket, stop: threading.Event) -> None:
    """Set the event at a signal that ends a run, until the other end of the pair is closed."""
    terminals = [number for number in (0, 1, 2) if os.isatty(number)]
    while heard := ear.recv(64):
        if signal.SIGHUP in heard:
            _let_go(terminals)
        if not set(ENDING).isdisjoint(heard):
            stop.set()


def _let_go(terminals: list[int]) -> None:
    """Let what led to a terminal that has gone lead nowhere, so that what a run tells at its end does not fail."""
    for number in terminals:
        if not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            os.close(nowhere)
