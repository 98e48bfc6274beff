"""Headers that contradict their pixels or themselves: one line each, which quotes none of their values."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ParametricMapStorage, RTDoseStorage, SegmentationStorage

from kdlight_edge.cli import main
from kdlight_edge.dicom.pixels import shown
from kdlight_edge.frame import Frame, Unreadable
from kdlight_edge.sources import open_source

MakeScan = Callable[..., Dataset]
GREY = np.full((8, 8), 90, np.uint8)
COLOUR = np.full((8, 8, 3), 90, np.uint8)


def lines(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    code = main(["infer", *map(str, arguments), "--json"])
    return code, [json.loads(line) for line in capfd.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("pixels", "claimed", "said"),
    [
        (GREY, "RGB", "1 samples a pixel where RGB has 3"),
        (COLOUR, "MONOCHROME2", "3 samples a pixel where MONOCHROME2"),
    ],
    ids=["grey", "colour"],
)
def test_pixels_of_another_number_of_samples_than_their_colours_need_end_no_run(
    tmp_path: Path, make_scan: MakeScan, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str],
    pixels: Any, claimed: str, said: str,
) -> None:  # fmt: skip
    for name, scan in (("1", make_scan(pixels, PhotometricInterpretation=claimed)), ("2", make_scan(GREY))):
        scan.save_as(tmp_path / name, enforce_file_format=True)
    code, (bad, good) = lines(capfd, "--source", f"dicom:{tmp_path}", "--model", tiny_bundle(size=8))
    assert code == 1
    assert bad["decision"] == "error"
    assert said in bad["reason"]
    assert good["decision"] != "error"


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated", "PixelRepresentation", "PixelPaddingValue", "LUTData"])
def test_a_name_that_a_file_calls_a_text_where_numbers_belong_is_not_quoted(
    tmp_path: Path, make_scan: MakeScan, keyword: str
) -> None:
    scan = make_scan(np.arange(64, dtype=np.uint16).reshape(8, 8))
    table = Dataset()
    table.LUTDescriptor = [8, 0, 8]
    within = table if keyword == "LUTData" else scan
    within[keyword] = DataElement(keyword, "LO", "DOE^JANE")
    if within is table:
        scan.VOILUTSequence = [table]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan.dcm"))
    assert isinstance(item, Unreadable)
    assert item.reason in {f"its {keyword} is no number", f"its {keyword} are no numbers"}


@pytest.mark.parametrize(
    ("pixels", "padding"),
    [
        (np.array([[-2000, 0], [510, 1020]], np.int16), ("US", 63536)),
        (np.array([[63536, 0], [510, 1020]], np.uint16), ("SS", -2000)),
    ],
    ids=["signed pixels", "unsigned pixels"],
)
def test_padding_that_is_written_with_another_sign_than_the_pixels_is_known_as_such(
    make_scan: MakeScan, pixels: Any, padding: tuple[str, int]
) -> None:
    scan = make_scan(pixels)
    scan.add_new("PixelPaddingValue", *padding)
    assert shown(scan, 0).window == "no window: 0 to 1020"


@pytest.mark.parametrize(
    ("value", "limit", "window"),
    [(None, 9, "no window: 0 to 1020"), (0, None, "no window: 510 to 1020"), (0, 510, "no window: 1020 to 1020")],
    ids=["no value", "no limit", "both"],
)
def test_padding_that_is_empty_is_none(make_scan: MakeScan, value: int | None, limit: int | None, window: str) -> None:
    scan = make_scan(np.array([[0, 0], [510, 1020]], np.uint16))
    scan.add_new("PixelPaddingValue", "US", value)
    scan.add_new("PixelPaddingRangeLimit", "US", limit)
    assert shown(scan, 0).window == window


def test_padding_is_not_asked_for_where_a_window_is_given(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[0, 0], [510, 1020]], np.uint16), WindowCenter=510, WindowWidth=1020)
    scan.add_new("PixelPaddingValue", "OW", b"\0\0")
    assert shown(scan, 0).window == "window 510.0/1020.0"


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("WindowCenter", "its WindowCenter is no number"),
        ("RescaleSlope", "its RescaleSlope is no number"),
        ("NumberOfFrames", "its NumberOfFrames is no number"),
        ("PhotometricInterpretation", "its PhotometricInterpretation is no code"),
    ],
)
def test_a_name_in_the_place_of_a_number_or_a_code_is_not_quoted(
    tmp_path: Path, make_scan: MakeScan, keyword: str, said: str
) -> None:
    file, held, name = tmp_path / "scan.dcm", "12345678", "DOE^JANE"
    scan = make_scan(GREY, **{"WindowWidth": 100, "RescaleIntercept": 0, keyword: held})
    scan.save_as(file, enforce_file_format=True)
    file.write_bytes(file.read_bytes().replace(held.encode(), name.encode()))
    (item,) = open_source(str(file))
    assert isinstance(item, Unreadable)
    assert item.reason == said


def test_a_name_in_the_place_of_a_transfer_syntax_is_not_quoted(tmp_path: Path, make_scan: MakeScan) -> None:
    file = tmp_path / "scan.dcm"
    make_scan(GREY).save_as(file, enforce_file_format=True)
    file.write_bytes(file.read_bytes().replace(ExplicitVRLittleEndian.encode(), b"DOE^JANE".ljust(19)))
    (item,) = open_source(str(file))
    assert isinstance(item, Unreadable)
    assert item.reason == "its TransferSyntaxUID is no identifier"


@pytest.mark.parametrize("empty", [b"", None])
def test_pixels_that_are_empty_are_no_picture(tmp_path: Path, make_scan: MakeScan, empty: bytes | None) -> None:
    scan = make_scan(GREY)
    scan.PixelData = empty
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan.dcm"))
    assert isinstance(item, Unreadable)
    assert "holds no picture" in item.reason


@pytest.mark.parametrize(
    ("keyword", "written", "said"),
    [
        ("RescaleSlope", "0", "its RescaleSlope 0 and RescaleIntercept -1024 make one value of all"),
        ("RescaleSlope", "1e-30", "make one value of all"),
        ("RescaleSlope", "nan", "its RescaleSlope or RescaleIntercept is no number that values can have"),
        ("RescaleSlope", "1e308", "is no number that values can have"),
        ("RescaleIntercept", "inf", "is no number that values can have"),
        ("RescaleIntercept", "1e17", "make one value of all"),
        ("WindowWidth", "0", "its window 600/0 cannot be: a center is a number, a width "),
        ("WindowWidth", "-400", "its window 600/-400 cannot be"),
        ("WindowWidth", "nan", "its window 600/nan cannot be"),
        ("WindowWidth", "inf", "its window 600/inf cannot be"),
        ("WindowCenter", "nan", "its window nan/1200 cannot be"),
    ],
)
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_numbers_that_make_one_grey_value_of_all_are_no_picture(
    tmp_path: Path, make_scan: MakeScan, function: str, keyword: str, written: str, said: str
) -> None:
    file, held = tmp_path / "scan.dcm", "12345678"
    numbers = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 600, "WindowWidth": 1200}
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 40
    scan = make_scan(values, VOILUTFunction=function, **{**numbers, keyword: held})
    scan.save_as(file, enforce_file_format=True)
    file.write_bytes(file.read_bytes().replace(held.encode(), f"{written:<8}".encode()))
    (item,) = open_source(str(file))
    assert isinstance(item, Unreadable)
    assert said in item.reason


def test_a_very_small_slope_is_a_slope(tmp_path: Path, make_scan: MakeScan) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 40
    scan = make_scan(values, RescaleSlope="1e-18", RescaleIntercept=0)
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan.dcm"))
    assert isinstance(item, Frame)
    assert (item.image.min(), item.image.max()) == (0, 255)


def test_no_bits_are_no_picture(tmp_path: Path, make_scan: MakeScan) -> None:
    make_scan(GREY, BitsStored=0).save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan.dcm"))
    assert isinstance(item, Unreadable)
    assert item.reason == "its BitsStored is 0: there are no pixels in it"


def test_raw_values_of_a_detector_are_no_picture(tmp_path: Path, make_scan: MakeScan) -> None:
    for name, intent in (("1", "FOR PROCESSING"), ("2", "FOR PRESENTATION")):
        scan = make_scan(GREY, PresentationIntentType=intent)
        scan.save_as(tmp_path / name, enforce_file_format=True)
    raw, shown = open_source(f"dicom:{tmp_path}")
    assert isinstance(raw, Unreadable)
    assert "raw values of a detector (FOR PROCESSING)" in raw.reason
    assert isinstance(shown, Frame)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (RTDoseStorage, "a dose (RT Dose)"),
        (SegmentationStorage, "a segmentation"),
        (ParametricMapStorage, "a parametric map"),
    ],
)
def test_what_a_program_computed_from_scans_is_no_picture(
    tmp_path: Path, make_scan: MakeScan, kind: UID, what: str
) -> None:
    scan = make_scan(GREY, SOPClassUID=kind)
    scan.file_meta.MediaStorageSOPClassUID = kind
    scan.save_as(tmp_path / "scan", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan"))
    assert isinstance(item, Unreadable)
    assert item.reason == f"{what}, computed from scans, is no picture for people"
