"""Stored pixel values of a DICOM object to the RGB picture that a reader would see.

Grey: stored value, modality LUT or rescale, VOI LUT or window, and only then the inversion of MONOCHROME1 (PS3.3,
C.7.6.3.1.2, C.11.1, C.11.2); the other order turns a window inside out. Values are real numbers up to the last step,
which rounds to 8 bits. pydicom does the arithmetic of a window, with the range of its output asked for as 8 bits.
"""

import math
import re
import sys
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_windowing
from pydicom.uid import UID

from kdlight_edge.dicom import turbo
from kdlight_edge.dicom.lut import looked_up
from kdlight_edge.errors import DataError
from kdlight_edge.picture import MAX_PIXELS

FULL_RANGE_BITS = 8
"""Without a window, values of up to so many bits are shown over their full range; wider ones seldom fill theirs."""

SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3}
"""Photometric interpretations after decoding, and how many samples a pixel then has."""

_PRESENTATION = (
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
)  # fmt: skip
"""What turns stored values into shown ones, at the top of an object or in the functional groups of its frames."""

turbo.register()

_NEEDED = ("Rows", "Columns", "BitsStored", "PhotometricInterpretation", "PixelRepresentation")

_NUMBERS = (
    "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "Rows", "Columns",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
)  # fmt: skip
_CODES = ("PhotometricInterpretation", "VOILUTFunction")
"""Elements that are text, or of which a file may say so: a name can stand there, which errors about it would quote."""

CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
"""A code string (PS3.5, 6.2); anything else in its place might be a name and is not told."""

Array = npt.NDArray[Any]


class Shown(NamedTuple):
    """A picture and how its grey values were chosen."""

    image: npt.NDArray[np.uint8]
    """uint8 [h, w, 3], RGB."""
    window: str
    """For people: the window or LUT used and which of how many; empty for colour."""


def shown(dataset: Dataset, index: int) -> Shown:
    """Decode frame ``index``, from 0, of an object with its pixels and their transfer syntax, and bring it to RGB.

    Raises:
        DataError: more than `MAX_PIXELS`, a photometric interpretation that is not of pictures, or as `check_header`.
        Exception: whatever a decoder makes of damaged data.
    """
    check_header(dataset, index)
    values, decoded = get_decoder(UID(dataset.file_meta.TransferSyntaxUID)).as_array(dataset, index=index)
    if values.shape[:2] != (dataset.Rows, dataset.Columns):
        raise DataError(f"decodes to {values.shape[1]}x{values.shape[0]} pixels where its header says otherwise")
    space = str(decoded["photometric_interpretation"])
    if space not in SAMPLES:
        raise DataError(f"photometric interpretation {space!r} is not one that is read here")
    if (samples := values.shape[2] if values.ndim > 2 else 1) != SAMPLES[space]:  # noqa: PLR2004 - no axis of samples
        raise DataError(f"has {samples} samples a pixel where {space} has {SAMPLES[space]}")
    if space in {"MONOCHROME1", "MONOCHROME2"}:
        grey, window = _grey(_stored(values, int(dataset.BitsStored)), dataset, index, space)
        return Shown(np.repeat(grey[..., np.newaxis], 3, axis=2), window)
    if space == "PALETTE COLOR":
        lut_bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        return Shown(_eight_bits(apply_color_lut(values, dataset)[..., :3], lut_bits), "")
    return Shown(_eight_bits(values, int(dataset.BitsStored)), "")


def check_header(dataset: Dataset, index: int) -> None:
    """Refuse what cannot be unpacked, or would unpack to too much, by the header alone.

    Raises:
        DataError: what is missing, too large, no number or no code where one should be; told without its text, which
            whoever reads it later would quote.
    """
    for part in _parts(dataset, index):
        for keyword in _NUMBERS:
            _numbers(part, keyword)
        for keyword in _CODES:
            if not all(CODE.fullmatch(str(code)) for code in _values(part, keyword)):
                raise DataError(f"its {keyword} is no code")
    _bounded(dataset)


def _numbers(part: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element, without those that are empty; refused where they are no numbers."""
    values = _values(part, keyword)
    if not all(isinstance(number, int | float | Decimal) for number in values):
        raise DataError(f"its {keyword} is no number")
    return values


def _values(part: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element, without those that are empty."""
    try:
        found = part.get(keyword)
    except Exception as error:
        raise DataError(f"its {keyword} cannot be read") from error
    values = list(found) if isinstance(found, MultiValue) else [found]
    return [value for value in values if value not in (None, "")]


def _bounded(dataset: Dataset) -> None:
    missing = [keyword for keyword in _NEEDED if keyword not in dataset or dataset[keyword].is_empty]
    if missing:
        raise DataError(f"its header lacks {', '.join(missing)}")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", ()):
        raise DataError("its header does not say how its pixels are written (no transfer syntax)")
    if not UID(dataset.file_meta.TransferSyntaxUID).is_valid:
        raise DataError("its TransferSyntaxUID is no identifier")
    if dataset.BitsStored == 0:
        raise DataError("its BitsStored is 0: there are no pixels in it")
    if int(dataset.get("HighBit", dataset.BitsStored - 1)) != dataset.BitsStored - 1:
        raise DataError(f"its {dataset.BitsStored} bits end at bit {dataset.HighBit}, a form retired from DICOM")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if not 0 < rows * columns <= MAX_PIXELS:
        raise DataError(f"{columns}x{rows} pixels are none or more than {MAX_PIXELS:,}; refused before unpacking")


def _stored(values: Array, bits: int) -> Array:
    """Keep only the bits that hold the value, and its sign: those above may carry an old overlay (PS3.5, 8.1.1)."""
    spare = values.dtype.itemsize * 8 - bits
    kept: Array = (values << spare) >> spare
    return kept


def _grey(stored: Array, dataset: Dataset, index: int, space: str) -> tuple[npt.NDArray[np.uint8], str]:
    """Return uint8 [h, w] and how it was chosen."""
    rules = _rules(dataset, index)
    values = _rescaled(stored, rules)
    if "VOILUTSequence" in rules:
        tables = rules.VOILUTSequence
        scaled, bits = looked_up(values, tables[0], little_endian=_little_endian(rules))
        scaled *= 255 / (2**bits - 1)
        window = f"VOI LUT{_first_of(len(tables))}"
    elif "WindowCenter" in rules and "WindowWidth" in rules:
        scaled = apply_windowing(values, _window(rules))
        window = f"window {_number(rules, 'WindowCenter')}/{_number(rules, 'WindowWidth')}"
        window += _first_of(rules["WindowCenter"].VM)
    else:
        scaled, window = _without_window(values, dataset, rules)
    grey = (np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
    return (255 - grey if space == "MONOCHROME1" else grey), window


def _rules(dataset: Dataset, index: int) -> Dataset:
    """Gather what belongs to a frame: of the object, over it of all frames, over it of this frame (PS3.3, C.7.6.16)."""
    rules = Dataset()
    for part in _parts(dataset, index):
        for keyword in _PRESENTATION:
            if keyword in part and not part[keyword].is_empty:
                rules[keyword] = part[keyword]
    rules.file_meta = dataset.file_meta
    return rules


def _parts(dataset: Dataset, index: int) -> list[Dataset]:
    """Return the object and those of its functional groups that a frame has."""
    groups = [*dataset.get("SharedFunctionalGroupsSequence", [])[:1]]
    groups += [*dataset.get("PerFrameFunctionalGroupsSequence", [])[index : index + 1]]
    parts = [dataset]
    for group in groups:
        parts += [*group.get("PixelValueTransformationSequence", [])[:1], *group.get("FrameVOILUTSequence", [])[:1]]
    return parts


def _rescaled(values: Array, rules: Dataset) -> npt.NDArray[np.float64]:
    """Apply the modality LUT, or the rescale, or neither where there is none."""
    if "ModalityLUTSequence" in rules:
        return looked_up(values, rules.ModalityLUTSequence[0], little_endian=_little_endian(rules))[0]
    real = values.astype(np.float64)
    if "RescaleSlope" in rules and "RescaleIntercept" in rules:
        slope, intercept = float(rules.RescaleSlope), float(rules.RescaleIntercept)
        if not math.isfinite(slope * 2.0**32 + intercept):
            raise DataError("its RescaleSlope or RescaleIntercept is no number that values can have")
        if intercept + slope == intercept:
            raise DataError(f"its RescaleSlope {slope:g} and RescaleIntercept {intercept:g} make one value of all")
        return real * slope + intercept
    return real


def _little_endian(rules: Dataset) -> bool:
    return bool(UID(rules.file_meta.TransferSyntaxUID).is_little_endian)


def _window(rules: Dataset) -> Dataset:
    """Return the first window alone, for values that are rescaled already, with an output of 0 to 255.

    Raises:
        DataError: nothing lies within it (PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2).
    """
    center, width = _number(rules, "WindowCenter"), _number(rules, "WindowWidth")
    linear = rules.get("VOILUTFunction", "LINEAR") == "LINEAR"
    if not (math.isfinite(center) and (1 if linear else sys.float_info.min) <= width < math.inf):
        width_is = "1 or more" if linear else "above 0"
        raise DataError(f"its window {center:g}/{width:g} cannot be: a center is a number, a width {width_is}")
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.BitsStored, window.PixelRepresentation = 8, 0
    window.WindowCenter, window.WindowWidth = center, width
    if "VOILUTFunction" in rules:
        window.VOILUTFunction = rules.VOILUTFunction
    return window


def _without_window(values: Array, dataset: Dataset, rules: Dataset) -> tuple[Array, str]:
    """Spread values that no window is given for; padding around a scan has no say in it (PS3.3, C.7.5.1.1.2)."""
    bits = int(dataset.BitsStored)
    if bits <= FULL_RANGE_BITS:
        ends = (0, 2**bits - 1) if dataset.PixelRepresentation == 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        low, high = sorted(_rescaled(np.array(ends), rules).tolist())
        return (values - low) * (255 / ((high - low) or 1.0)), "full range"
    seen = values
    if edges := _numbers(dataset, "PixelPaddingValue")[:1]:
        edges += _numbers(dataset, "PixelPaddingRangeLimit")[:1]
        # Some write it without the sign that the pixels have, or with one that they have not: its bits are what counts.
        kind = f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
        padding = _rescaled(_stored(np.array(edges, np.int64).astype(kind), bits), rules)
        inside = values[(values < padding.min()) | (values > padding.max())]
        seen = inside if inside.size else values
    low, high = float(seen.min()), float(seen.max())
    return (values - low) * (255 / ((high - low) or 1.0)), f"no window: {low:g} to {high:g}"


def _number(rules: Dataset, keyword: str) -> float:
    """Return the first value of an element that may hold several."""
    element = rules[keyword]
    first = element.value[0] if element.VM > 1 else element.value
    if first == "":
        raise DataError(f"the first of its {element.VM} values of {keyword} is empty")
    return float(first)


def _first_of(count: int) -> str:
    return f", first of {count}" if count > 1 else ""


def _eight_bits(values: Array, bits: int) -> npt.NDArray[np.uint8]:
    """Scale colours of 0 to 2 ** bits - 1 so that the largest is 255."""
    if bits == 8:  # noqa: PLR2004 - nothing to scale
        return np.ascontiguousarray(values.astype(np.uint8))
    white = 2**bits - 1
    scaled = (np.minimum(values, white).astype(np.uint64) * 255 + white // 2) // white
    return np.ascontiguousarray(scaled.astype(np.uint8))
