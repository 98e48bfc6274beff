"""A picture of any size to the network's input: the only place where a picture is resized, here and in training.

A different resize in training and on the device is the commonest accuracy bug of this field, so there is one, it is
named in the manifest, and calibration, evaluation and the runtime all call it.

``reduce`` is the default interpolation: an exact box reduction by the largest whole factor that keeps the picture at
least as large as the target, then bilinear. It has no aliasing from a 12-megapixel camera, and between 1x and 2x it
costs less than an area resize. ``linear`` and ``area`` are OpenCV's own.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.manifest import Input, Manifest

PAD = 114
"""Grey level of the bars of ``fit``: mid-grey, as detectors of this field pad."""


def prepare(image: npt.NDArray[np.uint8], manifest: Manifest) -> npt.NDArray[np.uint8]:
    """Bring a decoded picture to the size and colour the bundle was trained on.

    Args:
        image: uint8 [h, w, 3], RGB.
        manifest: of the bundle; only its ``input`` is used.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous.
    """
    return prepare_input(image, manifest.input)


def prepare_input(image: npt.NDArray[np.uint8], spec: Input) -> npt.NDArray[np.uint8]:
    """As `prepare`, for callers that have no bundle yet (training)."""
    size = (spec.width, spec.height)
    if spec.resize == "squash":
        result = _resize(image, size, spec.interpolation)
    elif spec.resize == "crop":
        result = _crop(image, size, spec.interpolation)
    else:
        result = _fit(image, size, spec.interpolation)
    if spec.colour == "grey":
        result = cv2.cvtColor(cv2.cvtColor(result, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(result)


def _resize(image: npt.NDArray[Any], size: tuple[int, int], interpolation: str) -> npt.NDArray[Any]:
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    if interpolation == "area":
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if interpolation == "reduce":
        across, down = max(1, width // size[0]), max(1, height // size[1])
        if across > 1 or down > 1:
            # The remainder of the division, less than one target pixel, is cut off at the right and lower edge.
            small = (width // across, height // down)
            image = cv2.resize(image[: small[1] * down, : small[0] * across], small, interpolation=cv2.INTER_AREA)
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


def _fit(image: npt.NDArray[Any], size: tuple[int, int], interpolation: str) -> npt.NDArray[Any]:
    """Resize the whole picture into the target and fill the rest with `PAD`, picture centred."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    result = np.full((size[1], size[0], 3), PAD, np.uint8)
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    result[top : top + down, left : left + across] = _resize(image, (across, down), interpolation)
    return result
