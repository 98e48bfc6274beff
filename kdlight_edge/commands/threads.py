"""What every command asks of its ``--threads``."""

from kdlight_edge.errors import UsageError

MOST = 256
"""Each takes memory for itself, in an engine or for the pictures in work; no board of this kind has so many cores."""


def check_threads(threads: int, least: int = 0) -> None:
    """Refuse a number of threads that cannot be.

    Raises:
        UsageError: fewer than ``least``, or more than any machine here can use.
    """
    if threads < least:
        raise UsageError(f"--threads {threads} is below {least}{'' if least else '; 0 takes every core'}")
    if threads > MOST:
        raise UsageError(f"--threads {threads} is above {MOST}; give no more than there are cores")
