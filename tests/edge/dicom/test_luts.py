"""Look-up tables in all the forms that they are written in, number by number, and as dcmtk applies them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from kdlight_edge.dicom.pixels import shown
from kdlight_edge.dicom.scan import read
from kdlight_edge.errors import DataError

MakeScan = Callable[..., Dataset]
DCM2PNM = shutil.which("dcm2pnm")


def table(first: int, bits: int, data: Any, *, count: int, form: str = "OW", signed: bool = False) -> list[Dataset]:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "SS" if signed else "US", [count, first, bits])
    lut.add_new("LUTData", form, data)
    return [lut]


def words(*entries: int, order: str = "<") -> bytes:
    return np.asarray(entries, f"{order}u2").tobytes()


def grey(scan: Dataset) -> list[list[int]]:
    values: list[list[int]] = shown(scan, 0).image[..., 0].tolist()
    return values


FOUR = np.array([[0, 1], [2, 9]], np.uint16)


@pytest.mark.parametrize("form", ["words", "bytes", "numbers"])
def test_a_table_of_values_of_interest_may_be_written_in_words_bytes_or_numbers(make_scan: MakeScan, form: str) -> None:
    data = {"words": words(7, 200, 100, 255), "bytes": bytes([7, 200, 100, 255]), "numbers": [7, 200, 100, 255]}[form]
    lut = table(0, 8, data, count=4, form="US" if form == "numbers" else "OW")
    assert grey(make_scan(FOUR, VOILUTSequence=lut)) == [[7, 200], [100, 255]]


def test_words_of_an_object_in_big_endian_are_read_as_such(make_scan: MakeScan) -> None:
    scan = make_scan(FOUR.astype(">u2"), VOILUTSequence=table(0, 8, words(7, 200, 100, 255, order=">"), count=4))
    scan.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert grey(scan) == [[7, 200], [100, 255]]


def test_a_modality_table_in_words_is_looked_up_before_the_window(make_scan: MakeScan) -> None:
    lut = table(0, 16, words(0, 100, 200, 255), count=4)
    scan = make_scan(FOUR, ModalityLUTSequence=lut, WindowCenter=128, WindowWidth=256)
    assert grey(scan) == [[0, 100], [200, 255]]


def test_a_table_of_eight_bits_may_have_more_entries_than_its_bits_can_count(make_scan: MakeScan) -> None:
    scan = make_scan(
        np.array([[0, 255], [256, 1023]], np.uint16),
        VOILUTSequence=table(0, 8, [place // 4 for place in range(1024)], count=1024, form="US"),
    )
    assert grey(scan) == [[0, 63], [64, 255]]


@pytest.mark.parametrize("signed", [True, False])
def test_a_table_may_begin_below_zero_also_where_the_stored_values_have_no_sign(
    make_scan: MakeScan, *, signed: bool
) -> None:
    first = -1000 if signed else 65536 - 1000  # as PixelRepresentation asks for, the rescaled values have one anyway
    lut = table(first, 8, words(10, 20, 30, 40), count=4, signed=signed)
    stored = np.array([[0, 24], [25, 4000]], np.uint16)  # rescaled: -1024, -1000, -999, 2976
    assert grey(make_scan(stored, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=lut)) == [[10, 10], [20, 40]]


@pytest.mark.parametrize(
    ("lut", "said"),
    [
        (table(0, 16, words(1, 2), count=4), "has 2 entries where it says 4"),
        (table(0, 32, words(1, 2, 3, 4), count=4), "entries have 32 bits"),
    ],
    ids=["entries", "bits"],
)
def test_a_table_that_contradicts_itself_is_refused(make_scan: MakeScan, lut: list[Dataset], said: str) -> None:
    with pytest.raises(DataError, match=said):
        shown(make_scan(FOUR, VOILUTSequence=lut), 0)


@pytest.mark.skipif(DCM2PNM is None, reason="dcm2pnm is not installed (Debian: dcmtk)")
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dcmtk_sees_the_same(tmp_path: Path, make_scan: MakeScan, bits: int) -> None:
    ramp = np.arange(4096)
    entries = (ramp * ramp // 4096 * ((1 << bits) - 1) // 4095).tolist()
    pixels = np.random.default_rng(5).integers(0, 4096, (32, 40), dtype=np.uint16)
    scan = make_scan(
        pixels, BitsStored=12, HighBit=11, RescaleSlope=1, RescaleIntercept=-1024,
        VOILUTSequence=table(65536 - 1000, bits, words(*entries), count=4096),
    )  # fmt: skip
    file, seen = tmp_path / "scan.dcm", tmp_path / "seen.pgm"
    scan.save_as(file, enforce_file_format=True)
    subprocess.run([str(DCM2PNM), "+Wl", "1", str(file), str(seen)], check=True)
    theirs = cv2.imread(str(seen), cv2.IMREAD_GRAYSCALE)
    assert theirs is not None
    ours = shown(read(file), 0).image[..., 0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1
