"""Small pictures and clips as the bytes of files, and everything that a source gives."""

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame, Unreadable


def jpeg(colour: tuple[int, int, int] = (200, 10, 10), size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a JPEG of one colour (RGB), of that width and height."""
    image = np.full((size[1], size[0], 3), colour[::-1], np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def png(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 20)) -> None:
    """Write a PNG of one colour (RGB), of that width and height, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((size[1], size[0], 3), colour[::-1], np.uint8))[1].tobytes())


def video(path: Path, frames: int = 12) -> Path:
    """Write a clip that grows ever more red."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * i), np.uint8))  # BGR
    writer.release()
    return path


def take_all(source: Any) -> list[Frame | Unreadable]:
    """Return what a source gives until its end, or until it is lost."""
    items: list[Frame | Unreadable] = []
    with contextlib.suppress(SourceError):
        items.extend(source)
    source.close()
    return items
