"""The rules of the 8 bits: what learns with rounding on and what writes INT8 files take them from here alike."""

from dataclasses import dataclass

WEIGHT_STEPS = 63
"""Largest magnitude of an 8-bit weight. Two products of 255 and 63 still fit into 16 bits, so that x86 processors
without VNNI, which add pairs there and saturate, give the very same sums."""

SIGNED_STEPS, UNSIGNED_STEPS = 127, 255
"""Steps from zero to the limit of a feature map that has values below zero, and of one that has none (after a ReLU)."""

ZERO = 128
"""The unsigned 8-bit number that stands for 0 in a map with values below zero."""


@dataclass(frozen=True, slots=True)
class Range:
    """What one feature map's 8-bit numbers span."""

    limit: float
    """Largest magnitude that is kept; what lies beyond is clipped."""
    signed: bool
    """Whether values below zero were seen."""

    @property
    def scale(self) -> float:
        """What one step is worth."""
        return self.limit / (SIGNED_STEPS if self.signed else UNSIGNED_STEPS)
