"""Pictures without a label: the student learns what its teacher makes of them, so no one has to sort them first.

A teacher answers any picture, and few pictures are what keeps a small student behind its teacher (Beyer et al., CVPR
2022; for pictures without labels Xie et al., CVPR 2020). Each pass over the training pictures draws as many of these;
the teacher itself is fine-tuned on the labelled ones alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlight_edge.errors import DataError
from kdlight_train.duplicates import near_pairs, thumbnail
from kdlight_train.fit import NO_LABEL, Pool
from kdlight_train.loose import loose_files, loose_split, told_name
from kdlight_train.pictures import Pixels, load_telling
from kdlight_train.workshop import Say, Shelf, input_of

NONE = np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """What folders without labels hold for a student."""

    images: Pixels = field(default_factory=lambda: NONE, repr=False)
    """uint8 [n, H, W, 3], at the size the teacher sees."""
    counts: dict[str, int] = field(default_factory=dict)
    """Folder's name to number of pictures."""


def digest_of_files(paths: Sequence[Path]) -> str | None:
    """Return the SHA-256 (hex) of what lies in folders without labels; None where there are none.

    Raises:
        DataError: a folder that holds no picture, or a file that cannot be read.
    """
    if not paths:
        return None
    whole = hashlib.sha256()
    try:
        for file in (file for path in paths for file in _files(path)):
            whole.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise DataError(f"--unlabelled: {error.filename} cannot be read: {error.strerror}") from error
    return whole.hexdigest()


def read_unlabelled(paths: Sequence[Path], shelf: Shelf, say: Say) -> Unlabelled:
    """Read pictures without labels, of folders with ``train/`` from there alone.

    Those that are validation or test pictures of the training, or look the same, are left out: a student that has met
    them would be judged too well.

    Raises:
        DataError: a folder that holds no picture that can be read, or none but validation and test pictures.
    """
    if not paths:
        return Unlabelled()
    side = shelf.recipe.teacher.imgsz
    judged = [shelf.split(name, side).pictures for name in shelf.data.splits if name != "train"]
    apart = np.stack([thumbnail(image) for part in judged for image in part.permute(0, 2, 3, 1).numpy()])
    kept: list[Pixels] = []
    counts: dict[str, int] = {}
    for path in paths:
        images = load_telling(loose_split(_files(path)), input_of(shelf.recipe, side), say).images
        new = ~_among(images, apart)
        if not new.any():
            raise DataError(f"--unlabelled {path} holds validation and test pictures only; give others")
        name, number = told_name(path), int(new.sum())
        say(f"unlabelled {number:,} pictures of {name}" + (_left_out(len(new) - number) if number < len(new) else ""))
        kept.append(images[new])
        counts[name] = counts.get(name, 0) + number
    return Unlabelled(np.concatenate(kept), counts)


def joined(pool: Pool, unlabelled: Unlabelled) -> Pool:
    """Return a pool of labelled pictures with those that have no label behind them."""
    if not len(unlabelled.images):
        return pool
    more: Tensor = torch.from_numpy(unlabelled.images).permute(0, 3, 1, 2).to(pool.pictures.device)
    truth = torch.cat([pool.truth, pool.truth.new_full((len(more),), NO_LABEL)])
    return Pool(torch.cat([pool.pictures, more]).contiguous(memory_format=torch.channels_last), truth)


def _files(path: Path) -> list[Path]:
    return loose_files(path, "--unlabelled", "pictures like those of --data")


def _among(images: Pixels, apart: Pixels) -> npt.NDArray[np.bool_]:
    """Tell which pictures, uint8 [n, H, W, 3], look like one of small copies, uint8 [m, 32, 32]."""
    small = np.stack([thumbnail(image) for image in images])
    pairs = near_pairs(np.concatenate([apart, small]))
    found = np.zeros(len(images), np.bool_)
    found[pairs[(pairs[:, 0] < len(apart)) & (pairs[:, 1] >= len(apart)), 1] - len(apart)] = True
    return found


def _left_out(count: int) -> str:
    return f"; {count:,} more look like validation or test pictures and are left out"
