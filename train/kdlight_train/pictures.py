"""Labelled pictures, on disk or in memory, and their way to the network's input."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.header import read_header
from kdlight_edge.manifest import Input
from kdlight_edge.picture import read_file, read_picture
from kdlight_edge.prepare import prepare_input

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One labelled picture: a file that opens and has a picture's header, or an array."""

    path: Path | None
    array: Pixels | None = field(repr=False)
    """uint8 [h, w] or [h, w, 3]; None where ``path`` is given."""
    label: int
    """Index into the labels of the data."""
    group: str
    """Pictures of one group (patient, lesion, wall) are never split."""
    name: str
    """For people: data folder, split, class and file."""
    digest: str = field(repr=False)
    """SHA-256 of the file's bytes, or of the array's shape and pixels."""
    size: tuple[int, int]
    """Width and height in pixels, as stored (before EXIF orientation)."""

    @property
    def ungrouped(self) -> bool:
        """Whether nobody named its group: then the group is its own digest, shared with identical copies only."""
        return self.group == f"sha256:{self.digest}"


@dataclass(frozen=True, slots=True)
class BadPicture:
    """A file that has a picture's name and cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Split:
    """Pictures that stay together: those to learn from, to choose by, or to judge by."""

    pictures: tuple[Picture, ...]

    @cached_property
    def truth(self) -> npt.NDArray[np.int64]:
        """True classes, int64 [n]."""
        return np.array([picture.label for picture in self.pictures], np.int64)

    def __len__(self) -> int:
        return len(self.pictures)


class Loaded(NamedTuple):
    """What `load` gives."""

    images: Pixels
    """uint8 [n, H, W, 3], RGB; n counts the pictures that could be read."""
    kept: npt.NDArray[np.int64]
    """int64 [n], the place of each in the split, rising: ``split.truth[kept]`` are their classes."""
    unreadable: tuple[BadPicture, ...]
    """The others: the caller says so to the user."""


def identify(path: Path) -> tuple[str, tuple[int, int]]:
    """Return a file's SHA-256 (hex) and the width and height of its header.

    Raises:
        DataError: it cannot be opened, is a pipe or device, or is not a whole picture; the message does not repeat
            the path.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}") from error
    header = read_header(content)
    return hashlib.sha256(content).hexdigest(), (header.width, header.height)


def identify_array(array: Pixels) -> str:
    """Return the SHA-256 (hex) of an array's shape and pixels."""
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


def pixels(picture: Picture) -> Pixels:
    """Decode one picture to uint8 [h, w, 3], RGB.

    Raises:
        DataError: see `read_picture`.
    """
    if picture.path is not None:
        return read_picture(picture.path)
    if picture.array is None:
        raise DataError("has neither a file nor pixels")
    grey = picture.array.ndim == 2  # noqa: PLR2004 - no channel axis
    return np.repeat(picture.array[..., None], 3, axis=2) if grey else picture.array


def load(split: Split, spec: Input, workers: int = 2) -> Loaded:
    """Decode and prepare every picture of a split, exactly as the runtime will.

    Args:
        split: the pictures.
        spec: size, colour and resize of the network's input.
        workers: threads; the codecs release the interpreter.

    Returns:
        The pictures, and what could not be read: nothing is left out in silence.

    Raises:
        DataError: not one picture could be read.
    """
    images = np.empty((len(split), spec.height, spec.width, 3), np.uint8)

    def place(index: int) -> BadPicture | None:
        picture = split.pictures[index]
        try:
            images[index] = prepare_input(pixels(picture), spec)
        except DataError as error:
            return BadPicture(picture.name, str(error))
        return None

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(place, range(len(split))))
    kept = np.array([index for index, bad in enumerate(outcomes) if bad is None], np.int64)
    unreadable = tuple(bad for bad in outcomes if bad is not None)
    if unreadable and not len(kept):
        raise DataError(f"none of {len(split)} pictures can be read; {unreadable[0].name}: {unreadable[0].reason}")
    return Loaded(_close_up(images, kept), kept, unreadable)


def load_telling(split: Split, spec: Input, say: Callable[[str], None], workers: int = 2) -> Loaded:
    """Return `load` and say what could not be read, a line each."""
    loaded = load(split, spec, workers)
    for bad in loaded.unreadable:
        say(f"left out, unreadable: {bad.name}: {bad.reason}")
    return loaded


def _close_up(images: Pixels, kept: npt.NDArray[np.int64]) -> Pixels:
    """Move the kept rows to the front in place, so that a large set is never held twice."""
    if len(kept) < len(images):
        for target, index in enumerate(kept):
            if target != index:
                images[target] = images[index]
    return images[: len(kept)]


def counts(pictures: Sequence[Picture], labels: Sequence[str]) -> dict[str, int]:
    """Count pictures by the name of their class, in the order of the labels."""
    numbers = np.bincount(np.array([picture.label for picture in pictures], np.int64), minlength=len(labels))
    return dict(zip(labels, numbers.tolist(), strict=True))
