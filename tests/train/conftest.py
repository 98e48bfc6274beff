"""What the tests of data need: small pictures on disk that no other seed gives, tables of groups, and damage."""

import csv
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

Paint = Callable[[Path, int], None]
Make = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """Return ``paint(path, seed)``, which writes a small picture of noise."""
    return _paint


@pytest.fixture
def make() -> Make:
    """Return ``make(root, numbers, seed=0) -> root``, which fills folders with pictures: 000.png, 001.png, ..."""

    def fill(root: Path, numbers: Mapping[str, int], seed: int = 0) -> Path:
        for place, (folder, number) in enumerate(numbers.items()):
            for index in range(number):
                _paint(root / folder / f"{index:03}.png", seed + 1000 * place + 1_000_000 * index)
        return root

    return fill


@pytest.fixture
def table() -> Make:
    """Return ``table(path, rows) -> path``, which writes a table of groups: rows are (file, group)."""

    def write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("file", "source", "group"), *((name, "-", group) for name, group in rows)])
        return path

    return write


@pytest.fixture
def spoil() -> Callable[[Path], None]:
    """Return ``spoil(path)``, which spoils a PNG's pixels under right checksums: only decoding can tell."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        start = content.index(b"IDAT")
        (length,) = struct.unpack_from(">I", content, start - 4)
        part = b"IDAT" + bytes(length)
        rest = content[start + 4 + length + 4 :]
        path.write_bytes(content[:start] + part + zlib.crc32(part).to_bytes(4, "big") + rest)

    return damage


@pytest.fixture
def shared() -> Path:
    """Give the folder of real pictures, which stands beside a checkout where they are to be had."""
    if not SHARED.is_dir():
        pytest.skip(f"the real pictures are not at {SHARED}")
    return SHARED


def _paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8))
