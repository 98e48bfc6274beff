"""The samples of a TIFF to RGB of 8 bits: which of them are colour, which is transparency, how deep they are."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
"""Photometric interpretations (TIFF 6.0, tag 262) that are read."""

_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, YCBCR: 3}

_TURNED_BY_CODEC = frozenset({6, 7, 33007, 34892, 50001})
"""Compressions (JPEG and WebP) whose codec gives RGB out of YCbCr."""

_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Extra samples (tag 338) that are transparency; others are another band (near infrared, height) or are not named."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What the samples of a pixel mean."""

    photometric: int
    bits: int
    """Of a sample, 2 to 16."""
    alpha: int | None
    """Which of them is transparency."""
    table: npt.NDArray[np.uint8] | None
    """uint8 [colours, 3] of a palette."""
    packed: bool
    """Whether YCbCr is still to be turned to RGB."""
    nothing: float
    """The value of all colours where nothing was seen (GDAL_NODATA); 0, which is black anyway, where none is named."""

    def rgb(self, part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Bring unsigned samples [h, w, n] to RGB, uint8 [h, w, 3]; what is transparent or no data becomes black.

        Raises:
            DataError: a pixel has a colour that the palette does not have.
        """
        colour = self._colour(part)
        if self.nothing:
            unseen = (part[..., : _COLOURS[self.photometric]] == self.nothing).all(axis=2, keepdims=True)
            colour = np.where(unseen, 0, colour)
        if self.alpha is not None:
            colour = np.where(_eight(part[..., self.alpha : self.alpha + 1], self.bits) < 128, 0, colour)  # noqa: PLR2004 - half
        return np.ascontiguousarray(colour)

    def _colour(self, part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if self.table is not None:
            if part[..., 0].max(initial=0) >= len(self.table):
                raise DataError(
                    f"damaged TIFF file: a pixel has a colour beyond the {len(self.table):,} of its palette"
                )
            coloured: npt.NDArray[np.uint8] = self.table[part[..., 0]]
            return coloured
        colour = _eight(part[..., : _COLOURS[self.photometric]], self.bits)
        if self.photometric == WHITE_IS_ZERO:
            colour = 255 - colour
        if self.packed:
            turned: Any = cv2.cvtColor(np.ascontiguousarray(colour[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
            return turned  # type: ignore[no-any-return]
        return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour


def samples_of(page: Any) -> Samples:
    """Read what tifffile's page says of its samples.

    Raises:
        DataError: of a kind that is not read here, or the palette is not there.
    """
    photometric, bits, count = int(page.photometric), page.bitspersample, int(page.samplesperpixel)
    kind = str(page.dtype)
    wanted = "save it as RGB or grey of 8 or 16 bits"
    if photometric not in _COLOURS or kind not in {"uint8", "uint16"} or count > 16 or not isinstance(bits, int):  # noqa: PLR2004
        raise DataError(f"a TIFF of {kind} samples, photometric {photometric}; {wanted}")
    colours = _COLOURS[photometric]
    if count < colours:
        raise DataError(f"damaged TIFF file: {count} samples a pixel where {colours} should be")
    kinds = [int(extra) for extra in page.extrasamples]
    # Some writers name no extra sample; of one that is too many everybody takes it for transparency.
    kinds = kinds or [_ASSOCIATED] * (count == colours + 1)
    alpha = next((at for at, extra in enumerate(kinds, colours) if extra in {_ASSOCIATED, _UNASSOCIATED}), None)
    table = _table(page) if photometric == PALETTE else None
    packed = photometric == YCBCR and int(page.compression) not in _TURNED_BY_CODEC
    return Samples(photometric, bits, None if alpha is None or alpha >= count else alpha, table, packed, page.nodata)


def _table(page: Any) -> npt.NDArray[np.uint8]:
    if page.colormap is None:
        raise DataError("damaged TIFF file: its palette is not there")
    table = np.asarray(page.colormap)
    if table.ndim != 2 or len(table) != 3:  # noqa: PLR2004 - three rows: red, green, blue
        raise DataError("damaged TIFF file: its palette is cut off")
    # Of 16 bits by the standard; some writers fill it with 8, as libtiff knows too.
    return (table.T >> (8 if table.max(initial=0) > 255 else 0)).astype(np.uint8)  # noqa: PLR2004


def _eight(part: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Bring samples of any depth to 8 bits, the largest value to 255."""
    if bits == 8:  # noqa: PLR2004
        return part
    most = (1 << bits) - 1
    scaled: npt.NDArray[np.uint8] = ((part.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    return scaled
