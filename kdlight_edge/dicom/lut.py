"""A look-up table of a DICOM object (PS3.3, C.11.1.1 and C.11.2.1.1), applied to whole pictures.

pydicom's own takes no table whose entries stand in bytes out of its object, and counts places in as many bits as an
entry has: a table of 4,096 entries of 8 bits began anew after each 256.
"""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from kdlight_edge.errors import DataError

SIGNED = 1 << 15
"""The least 16-bit number that is negative where it has a sign."""


def looked_up(values: npt.NDArray[Any], table: Dataset, *, little_endian: bool) -> tuple[npt.NDArray[np.float64], int]:
    """Return what a table makes of values, float64 of the same shape, and how many bits its entries have.

    Args:
        values: of any type; what lies before the table is its first entry, what lies behind it its last.
        table: an item of a Modality LUT Sequence or a VOI LUT Sequence.
        little_endian: how the object that it is from was written.

    Raises:
        DataError: it has fewer entries than it says, its entries more bits than there are, or it is text.
    """
    if not all(isinstance(number, int) for number in table.LUTDescriptor):
        raise DataError("its LUTDescriptor is no three numbers")
    count, first, bits = table.LUTDescriptor
    count = count or 1 << 16
    if not 1 <= bits <= 16:  # noqa: PLR2004 - its entries have 16 at most
        raise DataError(f"its look-up table says that entries have {bits} bits, 16 are the most")
    entries = _entries(table["LUTData"].value, count, bits, little_endian=little_endian)
    if len(entries) < count:
        raise DataError(f"its look-up table has {len(entries):,} entries where it says {count:,}")
    places = np.rint(values).astype(np.int64)
    if first >= SIGNED and places.size and places.min() < 0:
        first -= 1 << 16  # written without its sign, as the stored values have none, and the rescaled ones have
    return entries[np.clip(places - first, 0, count - 1)].astype(np.float64), bits


def _entries(data: Any, count: int, bits: int, *, little_endian: bool) -> npt.NDArray[np.int64]:
    """Return the entries: numbers (US), words (OW), or bytes where there is no room for words."""
    if not isinstance(data, bytes | bytearray):
        if isinstance(data, str):  # an error about it would quote it
            raise DataError("its LUTData are no numbers")
        return np.atleast_1d(np.asarray(data, np.int64))
    if bits <= 8 and len(data) < 2 * count:  # noqa: PLR2004 - entries of a byte each
        return np.frombuffer(data, np.uint8).astype(np.int64)
    words = np.frombuffer(data[: len(data) // 2 * 2], np.uint16)
    return (words if little_endian == (sys.byteorder == "little") else words.byteswap()).astype(np.int64)
