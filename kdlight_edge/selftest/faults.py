"""The faults that can be injected, by the name that people type, and the run that each is injected into."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kdlight_edge.errors import UsageError
from kdlight_edge.selftest import camera_faults, dicom_fault, disk_fault, peer_faults
from kdlight_edge.selftest.bench import Bench
from kdlight_edge.selftest.outcome import Found, Outcome, judge

FAULTS: dict[str, Callable[[Bench], Found]] = {
    "unplug": camera_faults.unplug,
    "freeze": camera_faults.freeze,
    "slow": camera_faults.slow,
    "corrupt": camera_faults.corrupt,
    "black": camera_faults.black,
    "resize": camera_faults.resize,
    "duplicate": camera_faults.duplicate,
    "broker": peer_faults.broker,
    "webhook": peer_faults.webhook,
    "disk": disk_fault.disk,
    "clock": peer_faults.clock,
    "dicom": dicom_fault.dicom,
    "web": peer_faults.web,
}
"""In the order in which they are injected."""


def chosen(text: str) -> list[str]:
    """Return the names in a list with commas; ``all`` is all.

    Raises:
        UsageError: a name is none.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in FAULTS and name != "all"]
    if unknown:
        raise UsageError(f"--faults {unknown[0]} is unknown; choose all, or of {', '.join(FAULTS)}")
    return [name for name in FAULTS if name in names or "all" in names]


def inject(names: Sequence[str], model: str) -> Iterator[Outcome]:
    """Inject faults one after the other, each into a run of its own, and yield how it went."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="kdlight-selftest-") as folder:
            bench = Bench(model, Path(folder))
            yield judge(name, lambda: FAULTS[name](bench))  # noqa: B023 - called before the next turn
