"""What every classifier of a pool is told: where the archive is, the bundle itself, and how to answer."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kdlight_edge import __version__
from kdlight_edge.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Job:
    """Sent to each process of the pool; small, as a bundle is."""

    folder: str
    """URI or absolute path that every machine of the cluster can read."""
    bundle: dict[str, bytes]
    """The bundle's files by their relative names: a machine of the cluster need not have it."""
    engine: str
    conf: float | None
    topk: int
    identity: bytes = field(repr=False)
    """Key of the hashes that stand for identifiers: the same in all processes."""
    version: str = __version__


def packed(bundle: Bundle) -> dict[str, bytes]:
    """Return a bundle's files by their relative names."""
    files = sorted(file for file in bundle.path.rglob("*") if file.is_file())
    return {file.relative_to(bundle.path).as_posix(): file.read_bytes() for file in files}


def unpack(files: dict[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write what `packed` returned below a folder."""
    for name, content in files.items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
