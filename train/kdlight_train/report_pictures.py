"""Pictures inside a page: encoded, with the class activation map laid over, and a caption."""

import base64
from html import escape
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_train.report import Mistake
from kdlight_train.report_numbers import percent

LARGEST = 256
"""Longer side of a picture in the page, in pixels: twelve of them stay below two megabytes."""


def mistake_figure(mistake: Mistake) -> str:
    """Return one wrong answer as a figure: the picture, what the network looked at, truth and answer."""
    image = _shrink(mistake.image)
    shown = [_img(image, f"a picture of {mistake.truth}")]
    if mistake.cam is not None:
        shown.append(_img(overlay(image, mistake.cam), f"where it looks like {mistake.predicted} to the network"))
    name = f'<span class="file">{escape(mistake.name)}</span>' if mistake.name else ""
    return (
        f'<figure><div class="pair">{"".join(shown)}</div><figcaption><b>{escape(mistake.truth)}</b> taken for '
        f"<b>{escape(mistake.predicted)}</b> at {percent(mistake.probability)}{name}</figcaption></figure>"
    )


def overlay(image: npt.NDArray[np.uint8], cam: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Lay a class activation map, float [h', w'], over a picture, uint8 [h, w, 3] RGB; its range is stretched.

    A map without any contrast, or with values that are not finite, leaves the picture as it is.
    """
    low, high = float(cam.min()), float(cam.max())
    if not (np.isfinite([low, high]).all() and high > low):
        return image
    heat = cv2.resize((cam.astype(np.float32) - low) / (high - low), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    strength = np.clip(heat, 0, 1)
    colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = 0.25 + 0.4 * strength[..., None]
    blended: npt.NDArray[np.float32] = image * (1 - weight) + colours * weight
    return np.clip(blended, 0, 255).astype(np.uint8)


def _shrink(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = LARGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    target = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, target, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _img(image: npt.NDArray[np.uint8], told: str) -> str:
    height, width = image.shape[:2]
    _, content = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    data = base64.b64encode(content.tobytes()).decode("ascii")
    return f'<img width="{width}" height="{height}" alt="{escape(told)}" src="data:image/png;base64,{data}">'
