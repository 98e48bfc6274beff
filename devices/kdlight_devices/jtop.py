"""Asks the service of jetson-stats, where it runs, for the power by rail that the kernel does not tell."""

import contextlib
from pathlib import Path

SOCKET = "run/jtop.sock"

INTERVAL = 0.5
"""Seconds between two of its answers, of which the first one is taken."""


def jtop_rails(root: Path) -> dict[str, float]:
    """Return watts by rail (jetson-stats, ``jtop.power``: milliwatts); empty where it does not answer."""
    if not (root / SOCKET).is_socket():
        return {}
    with contextlib.suppress(Exception):  # whatever ails another's package, the board is asked in another way then
        from jtop import jtop  # brings a client's thread, and few machines come here

        with jtop(interval=INTERVAL) as board:
            rails = board.power["rail"] if board.ok() else {}
            return {str(name): float(rail["power"]) / 1000 for name, rail in rails.items()}
    return {}
