"""What a reader sees, number by number: every expected value here is computed by hand from PS3.3 and PS3.5."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from kdlight_edge.dicom.pixels import shown
from kdlight_edge.dicom.scan import read
from kdlight_edge.errors import DataError

MakeScan = Callable[..., Dataset]


def grey(scan: Dataset, index: int = 0) -> list[list[int]]:
    image = shown(scan, index).image
    assert image.dtype == np.uint8
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()
    values: list[list[int]] = image[..., 0].tolist()
    return values


def table(first: int, bits: int, entries: list[int], *, signed: bool = False) -> Dataset:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    lut.add_new("LUTData", "US", entries)
    return lut


def test_eight_bits_are_shown_as_they_are(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[0, 1], [127, 255]], np.uint8))
    assert grey(scan) == [[0, 1], [127, 255]]
    assert shown(scan, 0).window == "full range"


def test_monochrome1_is_turned_over(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[0, 1], [127, 255]], np.uint8), PhotometricInterpretation="MONOCHROME1")
    assert grey(scan) == [[255, 254], [128, 0]]


def test_twelve_bits_without_a_window_are_spread_from_least_to_most(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[100, 200], [400, 1120]], np.uint16), BitsStored=12, HighBit=11)
    # By (v - 100) * 255 / 1020: 0, 25, 75, 255
    assert grey(scan) == [[0, 25], [75, 255]]
    assert shown(scan, 0).window == "no window: 100 to 1120"


def test_padding_has_no_say_in_the_spread(make_scan: MakeScan) -> None:
    values = np.array([[-2000, 0], [510, 1020]], np.int16)
    scan = make_scan(values)
    scan.add_new("PixelPaddingValue", "SS", -2000)
    assert grey(scan) == [[0, 0], [128, 255]]  # 127.5 rounds up
    assert shown(scan, 0).window == "no window: 0 to 1020"


def test_signed_twelve_bits_in_sixteen_keep_their_sign(make_scan: MakeScan) -> None:
    raw = np.array([[0x0FFF, 0x0800], [0x0000, 0x07FF]], np.uint16)  # -1, -2048, 0, 2047
    scan = make_scan(raw, BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=0.5, WindowWidth=4096)
    # linear: ((v - 0) / 4095 + 0.5) * 255: -1 -> 127.44, -2048 -> below, 0 -> 127.5, 2047 -> 254.97
    assert grey(scan) == [[127, 0], [128, 255]]


def test_bits_above_the_value_are_no_part_of_it(make_scan: MakeScan) -> None:
    clean = np.array([[0, 1000], [2000, 4095]], np.uint16)
    overlay = clean | np.array([[0xF000, 0x1000], [0, 0x8000]], np.uint16)
    assert grey(make_scan(overlay, BitsStored=12, HighBit=11)) == grey(make_scan(clean, BitsStored=12, HighBit=11))


def test_the_rescale_comes_before_the_window(make_scan: MakeScan) -> None:
    stored = np.array([[0, 1024], [1064, 2000]], np.uint16)  # HU: -1024, 0, 40, 976
    scan = make_scan(stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=401)
    # ((0 - 39.5) / 400 + 0.5) * 255 = 102.32; ((40 - 39.5) / 400 + 0.5) * 255 = 127.82
    assert grey(scan) == [[0, 102], [128, 255]]
    assert shown(scan, 0).window == "window 40.0/401.0"


def test_a_slope_that_is_no_whole_number_is_not_rounded_away(make_scan: MakeScan) -> None:
    stored = np.array([[0, 1], [2, 4]], np.uint16)
    scan = make_scan(stored, RescaleSlope=0.25, RescaleIntercept=0, WindowCenter=0.5, WindowWidth=1)
    scan.VOILUTFunction = "LINEAR_EXACT"  # ((v - 0.5) / 1 + 0.5) * 255
    assert grey(scan) == [[0, 64], [128, 255]]


def test_the_inversion_comes_after_the_window(make_scan: MakeScan) -> None:
    stored = np.array([[0, 1024], [1064, 2000]], np.uint16)
    scan = make_scan(stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=401,
                     PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    assert grey(scan) == [[255, 153], [127, 0]]


def test_of_several_windows_the_first_is_taken_and_told(make_scan: MakeScan) -> None:
    values = np.array([[0, 50], [100, 200]], np.uint8)
    scan = make_scan(values, WindowCenter=[50, 100], WindowWidth=[100, 200], VOILUTFunction="LINEAR_EXACT")
    assert grey(scan) == [[0, 128], [255, 255]]
    assert shown(scan, 0).window == "window 50.0/100.0, first of 2"


def test_a_sigmoid_window_is_a_sigmoid(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[100, 110], [90, 255]], np.uint8), WindowCenter=100, WindowWidth=40)
    scan.VOILUTFunction = "SIGMOID"
    # 255 / (1 + exp(-4 (v - 100) / 40)): 127.5, 186.42, 68.58, 255.0
    assert grey(scan) == [[128, 186], [69, 255]]


def test_a_modality_table_is_looked_up_before_the_window(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[9, 10], [11, 12]], np.uint16), WindowCenter=500, WindowWidth=1000)
    scan.ModalityLUTSequence = [table(10, 16, [0, 500, 1000])]
    scan.VOILUTFunction = "LINEAR_EXACT"
    assert grey(scan) == [[0, 0], [128, 255]]  # 9 takes the first entry, 12 the last


def test_a_table_of_values_of_interest_is_looked_up_after_the_rescale(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[0, 1], [2, 3]], np.uint16), RescaleSlope=2, RescaleIntercept=-3)  # -3, -1, 1, 3
    scan.VOILUTSequence = [table(-1, 12, [0, 4095, 819]), table(0, 8, [1, 2])]
    # -3 and -1: entry 0; 1: entry 2; 3: last entry; 819 * 255 / 4095 = 51
    assert grey(scan) == [[0, 0], [51, 51]]
    assert shown(scan, 0).window == "VOI LUT, first of 2"


def test_each_frame_of_an_enhanced_object_has_its_own_window(make_scan: MakeScan) -> None:
    values = np.array([[[0, 50], [100, 200]]] * 2, np.uint8)
    scan = make_scan(values, frames=2, modality="US")
    rescale, groups = Dataset(), []
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    shared = Dataset()
    shared.PixelValueTransformationSequence = [rescale]
    scan.SharedFunctionalGroupsSequence = [shared]
    for center in (100, 200):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, 200, "LINEAR_EXACT"
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    scan.PerFrameFunctionalGroupsSequence = groups
    assert grey(scan, 0) == [[0, 128], [255, 255]]  # 0, 100, 200, 400 around 100 +- 100
    assert grey(scan, 1) == [[0, 0], [128, 255]]  # around 200 +- 100


# Colour

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)


def test_rgb_is_kept_and_its_planes_are_put_together(make_scan: MakeScan) -> None:
    assert (shown(make_scan(COLOURS), 0).image == COLOURS).all()
    planes = make_scan(COLOURS, PlanarConfiguration=1)
    planes.PixelData = COLOURS.transpose(2, 0, 1).tobytes()
    assert (shown(planes, 0).image == COLOURS).all()
    assert shown(planes, 0).window == ""


def test_rgb_of_sixteen_bits_is_scaled_by_its_full_range(make_scan: MakeScan) -> None:
    scan = make_scan(np.array([[[65535, 0, 257], [32768, 128, 129]]], np.uint16))
    assert shown(scan, 0).image.tolist() == [[[255, 0, 1], [128, 0, 1]]]


def test_ybr_full_becomes_rgb(make_scan: MakeScan) -> None:
    # PS3.3 C.7.6.3.1.2: red 255, 0, 0 is Y 76.2, CB 85.0, CR 255.5 (kept as 255); grey 90 is 90, 128, 128
    scan = make_scan(np.array([[[76, 85, 255], [90, 128, 128]]], np.uint8), PhotometricInterpretation="YBR_FULL")
    red, middle = shown(scan, 0).image[0].tolist()
    assert middle == [90, 90, 90]
    assert np.abs(np.array(red) - (254, 0, 0)).max() <= 1  # R = 76 + 1.402 * 127 = 254.05


def test_ybr_full_422_shares_its_colour_between_two_pixels(make_scan: MakeScan) -> None:
    scan = make_scan(np.zeros((1, 2, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    scan.PixelData = bytes([90, 200, 128, 128])  # Y1 Y2 CB CR
    assert shown(scan, 0).image.tolist() == [[[90] * 3, [200] * 3]]


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_a_palette_is_looked_up(make_scan: MakeScan, bits: int, scale: int) -> None:
    scan = make_scan(np.array([[0, 1], [2, 9]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name, entries in (("Red", [255, 0, 7, 0]), ("Green", [0, 255, 8, 0]), ("Blue", [0, 0, 9, 200])):
        scan.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4, 0, bits])
        content = (np.array(entries) * scale).astype(np.uint16 if bits == 16 else np.uint8).tobytes()
        scan.add_new(f"{name}PaletteColorLookupTableData", "OW", content)
    assert shown(scan, 0).image.tolist() == [[[255, 0, 0], [0, 255, 0]], [[7, 8, 9], [0, 0, 200]]]


# Compressed


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: str(uid.name))
@pytest.mark.parametrize("kind", ["grey of 8", "grey of 12", "signed", "RGB"])
def test_a_lossless_syntax_shows_what_was_there_before(make_scan: MakeScan, syntax: Any, kind: str) -> None:
    random = np.random.default_rng(4)
    made: dict[str, Callable[[], Dataset]] = {
        "grey of 8": lambda: make_scan(random.integers(0, 256, (99, 70), np.uint8)),
        "grey of 12": lambda: make_scan(random.integers(0, 4096, (99, 70), np.uint16), BitsStored=12, HighBit=11),
        "signed": lambda: make_scan(random.integers(-999, 999, (99, 70), np.int16), WindowCenter=9, WindowWidth=9e2),
        "RGB": lambda: make_scan(random.integers(0, 256, (99, 70, 3), np.uint8)),
    }  # fmt: skip
    scan = made[kind]()
    before = shown(scan, 0)
    scan.compress(syntax, generate_instance_uid=False)
    after = shown(scan, 0)
    assert (after.image == before.image).all()
    assert after.window == before.window


def by_dcmtk(file: Path, folder: Path, program: str) -> Dataset:
    """Return the object as dcmtk, which shares no code with our decoders, unpacks it."""
    tool = shutil.which(program, path="/usr/bin:/usr/local/bin")
    if tool is None:
        pytest.skip(f"{program} is not installed (Debian: dcmtk)")
    subprocess.run([tool, str(file), str(folder / "plain.dcm")], check=True, capture_output=True)
    return read(folder / "plain.dcm")


@pytest.mark.parametrize(
    ("name", "program", "tolerance"),
    [
        ("JPGExtended.dcm", "dcmdjpeg", 1),  # 12 bits, lossy: the two inverse transforms may round differently
        ("JPEG-lossy.dcm", "dcmdjpeg", 1),
        ("SC_rgb_jpeg_gdcm.dcm", "dcmdjpeg", 0),  # lossless
        ("MR_small_jpeg_ls_lossless.dcm", "dcmdjpls", 0),
        ("MR_small_RLE.dcm", "dcmdrle", 0),
    ],
)
def test_dcmtk_sees_the_same(name: str, program: str, tolerance: int, tmp_path: Path) -> None:
    file = Path(str(get_testdata_file(name)))
    ours, theirs = shown(read(file), 0).image, shown(by_dcmtk(file, tmp_path, program), 0).image
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance


def test_jpeg_2000_shows_the_same_as_the_plain_file() -> None:
    pair = [Path(str(get_testdata_file(name))) for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm")]
    first, second = (shown(read(file), 0).image for file in pair)
    assert (first == second).all()


# What cannot be shown


def bomb(scan: Dataset) -> None:
    scan.Rows = scan.Columns = 65535


def smaller(scan: Dataset) -> None:
    scan.PixelData = scan.PixelData[:-2]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (bomb, "65535x65535 pixels are none or more than"),
        (lambda scan: scan.__delattr__("Rows"), "its header lacks Rows"),
        (lambda scan: scan.file_meta.__delattr__("TransferSyntaxUID"), "no transfer syntax"),
        (lambda scan: setattr(scan, "HighBit", 11), "its 8 bits end at bit 11"),
        (lambda scan: setattr(scan, "PhotometricInterpretation", "CMYK"), "'CMYK' is not one that is read here"),
    ],
    ids=["bomb", "no size", "no syntax", "bits below", "unknown colours"],
)
def test_what_is_no_picture_is_refused_with_its_reason(
    make_scan: MakeScan, spoil: Callable[[Dataset], Any], reason: str
) -> None:
    scan = make_scan(np.zeros((4, 4), np.uint8))
    spoil(scan)
    with pytest.raises(DataError, match=reason):
        shown(scan, 0)


def test_pixels_that_are_cut_off_are_refused(make_scan: MakeScan) -> None:
    scan = make_scan(np.zeros((4, 4), np.uint8))
    smaller(scan)
    with pytest.raises(ValueError, match="less than expected"):
        shown(scan, 0)


def test_a_jpeg_of_another_size_than_the_header_is_refused() -> None:
    scan = read(str(get_testdata_file("JPGExtended.dcm")))
    scan.Rows = 512
    with pytest.raises(RuntimeError, match="the JPEG is 256x1024 pixels where its header says otherwise"):
        shown(scan, 0)


def values_of(image: npt.NDArray[np.uint8]) -> int:
    return int(np.unique(image).size)


def test_the_samples_of_twelve_bits_are_pictures_and_not_noise() -> None:
    image = shown(read(str(get_testdata_file("JPGExtended.dcm"))), 0).image
    assert image.shape == (1024, 256, 3)
    assert values_of(image) > 100
    assert (image < 8).mean() > 0.3  # the air around the patient
