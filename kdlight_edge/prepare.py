"""A picture of any size to the network's input: the only place where a picture is resized, here and in training.

A different resize in training and on the device is the commonest accuracy bug of this field, so there is one, it is
named in the manifest, and calibration, evaluation and the runtime all call it.

``reduce`` is the default interpolation: an exact box reduction by the largest whole factor that keeps the picture at
least as large as the target, then bilinear. It has no aliasing from a 12-megapixel camera, and between 1x and 2x it
costs less than an area resize. ``linear`` and ``area`` are OpenCV's own.
"""

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.boxes import box_means
from kdlight_edge.manifest import Input, Manifest
from kdlight_edge.picture import Need

PAD = 114
"""Grey level of the bars of ``fit``: mid-grey, as detectors of this field pad."""


BOX = 2.5
"""Pixels of a reduced JPEG, along either side, that one pixel of the input must come from at least. Then the input
differs from that of the whole picture by 2 grey levels in the mean at most, and the logits by less than those of two
devices may (`Golden.tolerance`): tests/edge/test_reduction.py."""


def reduction(width: int, height: int, spec: Input) -> int:
    """Return the scale, 1, 2, 4 or 8, at which a JPEG of this size may be decoded for this input.

    libjpeg makes the mean of 8x8 pixels from one coefficient, of 4x4 and 2x2 nearly so; averaging them further is what
    ``reduce`` and ``area`` would do with the whole picture. ``linear`` looks at single pixels and gets them all.
    """
    if spec.resize == "crop" or spec.interpolation == "linear":
        return 1
    across, down = _fitted(width, height, spec) if spec.resize == "fit" else (spec.width, spec.height)
    box = min(width // across, height // down)
    return next((scale for scale in (8, 4, 2) if box >= BOX * scale), 1)


def need_of(spec: Input, *, live: bool = False) -> Need:
    """Return what of a JPEG has to be decoded for this input.

    Args:
        spec: size and colour of the input.
        live: whether the picture is for others too, whose size is this one and whose colour may not be.
    """
    return Need(functools.partial(reduction, spec=spec), colours=live or spec.colour != "grey")


def prepare(
    image: npt.NDArray[np.uint8], manifest: Manifest, full: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Bring a decoded picture to the size and colour the bundle was trained on.

    Args:
        image: uint8 [h, w, 3], RGB, or [h, w], grey.
        manifest: of the bundle; only its ``input`` is used.
        full: width and height of the picture, where ``image`` was decoded at the scale of `reduction`.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous.
    """
    return prepare_input(image, manifest.input, full)


def prepare_input(
    image: npt.NDArray[np.uint8], spec: Input, full: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """As `prepare`, for callers that have no bundle yet (training)."""
    size = (spec.width, spec.height)
    if spec.resize == "squash":
        result = _resize(image, size, spec.interpolation, full)
    elif spec.resize == "crop":
        result = _crop(image, size, spec.interpolation)
    else:
        result = _fit(image, spec, full)
    if result.ndim == 2:  # noqa: PLR2004 - no channel axis: grey
        result = cv2.cvtColor(result, cv2.COLOR_GRAY2RGB)
    elif spec.colour == "grey":
        result = cv2.cvtColor(cv2.cvtColor(result, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(result)


def _resize(
    image: npt.NDArray[Any], size: tuple[int, int], interpolation: str, full: tuple[int, int] | None = None
) -> npt.NDArray[Any]:
    width, height = full or image.shape[1::-1]
    if (width, height) == size:
        return image
    if interpolation == "area":
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if interpolation == "reduce":
        across, down = max(1, width // size[0]), max(1, height // size[1])
        if across > 1 or down > 1:
            # The remainder of the division, less than one target pixel, is cut off at the right and lower edge.
            small = (width // across, height // down)
            kept = small[0] * across, small[1] * down
            scale = 1 if full is None else round(width / image.shape[1])
            if kept[0] % scale == kept[1] % scale == 0:
                image = box_means(image[: kept[1] // scale, : kept[0] // scale], across, down, scale)
            else:
                kept = round(kept[0] * image.shape[1] / width), round(kept[1] * image.shape[0] / height)
                image = cv2.resize(image[: kept[1], : kept[0]], small, interpolation=cv2.INTER_AREA)
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _crop(image: npt.NDArray[Any], size: tuple[int, int], interpolation: str) -> npt.NDArray[Any]:
    """Cut the largest centred part with the target's proportions, then resize it."""
    height, width = image.shape[:2]
    scale = min(width / size[0], height / size[1])
    across, down = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (width - across) // 2, (height - down) // 2
    return _resize(image[top : top + down, left : left + across], size, interpolation)


def _fit(image: npt.NDArray[Any], spec: Input, full: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Resize the whole picture into the target and fill the rest with `PAD`, picture centred."""
    width, height = full or (image.shape[1], image.shape[0])
    across, down = _fitted(width, height, spec)
    result = np.full((spec.height, spec.width, *image.shape[2:]), PAD, np.uint8)
    left, top = (spec.width - across) // 2, (spec.height - down) // 2
    result[top : top + down, left : left + across] = _resize(image, (across, down), spec.interpolation, full)
    return result


def _fitted(width: int, height: int, spec: Input) -> tuple[int, int]:
    scale = min(spec.width / width, spec.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
