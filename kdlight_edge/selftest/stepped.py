"""The command line with a wall clock that SIGUSR1 steps back an hour, as NTP may; the monotonic one goes on."""

import signal
import sys
import time

STEP = -3600.0
"""Seconds."""


def main() -> int:
    """Run ``kdlight-edge`` with the arguments of this process."""
    real, step = time.time, [0.0]

    def back(number: int, frame: object) -> None:
        del number, frame
        step[0] = STEP

    signal.signal(signal.SIGUSR1, back)
    time.time = lambda: real() + step[0]
    from kdlight_edge.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
