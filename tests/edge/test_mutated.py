"""Ten thousand damaged files through every decoder, in a process that may not crash, hang or grow.

``KDLIGHT_MUTATIONS=10000`` gives as many to the decoders of scans too, which takes half an hour.
"""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.picture import decode
from tests.edge.mutated import PICTURES, SYNTAXES

SCRIPT = Path(__file__).with_name("mutated.py")

COUNT = int(os.environ.get("KDLIGHT_MUTATIONS", "10000"))
SCANS = int(os.environ.get("KDLIGHT_MUTATIONS", "400"))
SLOW = int(os.environ.get("KDLIGHT_MUTATIONS", "60"))
"""Of JPEG-LS, whose decoder (CharLS) looks for seconds at some streams before it gives them up."""

HANG = 120.0
"""Seconds for one file of some kilobytes after which its decoder hangs."""

GROWTH, PEAK = 8 << 20, 400 << 20
"""Bytes that may be held after all of them more than after a quarter, and that one of them may ever need."""


@pytest.mark.parametrize("kind", [*PICTURES, *SYNTAXES])
def test_no_damaged_file_crashes_hangs_or_grows(kind: str, tmp_path: Path) -> None:
    if kind in SYNTAXES:
        pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    progress = tmp_path / "progress"
    count = SLOW if kind == "jpeg-ls" else SCANS if kind in SYNTAXES else COUNT
    out, err = tmp_path / "out", tmp_path / "err"  # files: codecs complain about each damage, and a full pipe hangs
    command = [sys.executable, str(SCRIPT), kind, str(count), str(progress)]
    with out.open("w") as said, err.open("w") as complained:
        code = watch(subprocess.Popen(command, stdout=said, stderr=complained), progress)
    assert code == 0, f"{kind} {reached(progress)}: {err.read_text(errors='replace')[-2000:]}"
    found = json.loads(out.read_text().splitlines()[-1])
    assert found["shown"] > 0
    assert found["refused"] > 0
    assert found["growth"] < GROWTH
    assert found["peak"] < PEAK


def watch(child: "subprocess.Popen[bytes]", progress: Path) -> int:
    """Wait for the end as long as there is progress; what hangs is killed."""
    last, since = -1, time.monotonic()
    while child.poll() is None:
        now = reached(progress)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > HANG:
            child.kill()
            raise AssertionError(f"file {now} hangs")
        time.sleep(0.05)
    return child.wait()


def reached(progress: Path) -> int:
    """Return the number of the file that is, or was last, decoded."""
    content = progress.read_bytes() if progress.exists() else b""
    return int(struct.unpack("<q", content)[0]) if len(content) == 8 else -1


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-progressive", "tiff", "tiff-16-bit"])
def test_a_small_file_that_claims_many_pixels_is_refused_before_unpacking(kind: str) -> None:
    content = bytearray(PICTURES[kind])
    if kind.startswith("jpeg"):
        place = content.index(b"\xff\xc2" if "progressive" in kind else b"\xff\xc0")
        struct.pack_into(">HH", content, place + 5, 12_000, 12_000)
    else:
        for tag in (256, 257):
            place = content.find(struct.pack("<HHI", tag, 3, 1))
            place = place if place >= 0 else content.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<H", content, place + 8, 12_000)
    with pytest.raises(DataError, match=r"damaged (JPEG|TIFF) file: [\d,]+ bytes cannot hold 12000x12000"):
        decode(bytes(content))
