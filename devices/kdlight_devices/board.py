"""What is known about one kind of board before anything is measured on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """What a bundle may cost on a board: ``export`` judges its bytes, and ``bench --board`` on the board all else."""

    bundle_bytes: int
    """All files of the bundle together."""
    rss_bytes: int
    """Peak resident memory of the process that classifies a folder."""
    p50_ms_128: float
    """Median time of the network alone, one picture of 128x128, milliseconds."""
    p50_ms_224: float
    """The same at 224x224."""
    source: str
    """Where the medians come from, and whether they were measured or derived."""
    p99_ms_128: float
    """Time that one picture of 128x128 in a hundred may exceed, milliseconds."""
    p99_ms_224: float
    """The same at 224x224."""
    p99_source: str
    """Where these two come from."""
    size_source: str
    """Where the bytes come from, those of the files and those of the memory."""
    watts: float | None
    """What the whole board may draw while it classifies a camera; None where nothing is known."""
    watts_source: str
    """Where it comes from."""

    def p50_ms(self, width: int, height: int) -> float:
        """Return the median time allowed for one picture of ``width`` x ``height``.

        Between and beyond the two stated sizes the time is taken as linear in the number of pixels, and never below
        the time at 128x128: a small network's fixed costs do not shrink with the picture.
        """
        return _between(self.p50_ms_128, self.p50_ms_224, width * height)

    def p99_ms(self, width: int, height: int) -> float:
        """Return the time that one picture of ``width`` x ``height`` in a hundred may exceed, as `p50_ms` does."""
        return _between(self.p99_ms_128, self.p99_ms_224, width * height)


def _between(at_128: float, at_224: float, pixels: int) -> float:
    share = (pixels - 128 * 128) / (224 * 224 - 128 * 128)
    return at_128 + max(0.0, share) * (at_224 - at_128)


@dataclass(frozen=True, slots=True)
class Board:
    """A kind of board: what it is called, how it is recognised, what runs on it best, and what it allows."""

    name: str
    """What ``--board`` and ``--target`` take."""
    text: str
    """Name for people."""
    target: str
    """Family: ``jetson``, ``rpi`` or ``cpu``."""
    engines: tuple[str, ...]
    """Engines in order of preference; the first that is installed and that the bundle serves is used."""
    precisions: tuple[str, ...]
    """Precisions in order of preference."""
    threads: int
    """Threads inside one run of the network that its processor is best asked with (``--threads``)."""
    camera: str
    """Source URI of the camera that the board usually has."""
    budget: Budget | None
    """None for a machine without figures to derive one from."""
    compatible: tuple[str, ...]
    """Strings of the device tree's ``compatible`` that mean this board; the chip's own name last, where the board
    stands for every board with that chip. Empty for machines without a device tree."""
