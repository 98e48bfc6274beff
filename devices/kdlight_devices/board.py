"""What is known about one kind of board before anything is measured on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """What a bundle may cost on a board; a bundle above it is refused by ``bench --board``."""

    bundle_bytes: int
    """All files of the bundle together."""
    rss_bytes: int
    """Peak resident memory of the process that classifies a folder."""
    p50_ms_128: float
    """Median time of the network alone, one picture of 128x128, milliseconds."""
    p50_ms_224: float
    """The same at 224x224."""
    source: str
    """Where the four figures come from, and whether they were measured or derived."""

    def p50_ms(self, width: int, height: int) -> float:
        """Return the time allowed for one picture of ``width`` x ``height``.

        Between and beyond the two stated sizes the time is taken as linear in the number of pixels, and never below
        the time at 128x128: a small network's fixed costs do not shrink with the picture.
        """
        share = (width * height - 128 * 128) / (224 * 224 - 128 * 128)
        return self.p50_ms_128 + max(0.0, share) * (self.p50_ms_224 - self.p50_ms_128)


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
    camera: str
    """Source URI of the camera that the board usually has."""
    budget: Budget | None
    """None for a machine without figures to derive one from."""
    compatible: tuple[str, ...]
    """Strings of the device tree's ``compatible`` that mean this board; the chip's own name last, where the board
    stands for every board with that chip. Empty for machines without a device tree."""
