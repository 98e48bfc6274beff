"""Every format comes out as the same upright RGB bytes, and whatever is not a whole picture is refused in one line."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.errors import DataError
from kdlight_edge.header import read_header
from kdlight_edge.picture import decode, read_picture

RED, GREEN, BLUE, WHITE, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]
PALETTE = bytes(RED + BLUE)
QUARTERS = np.zeros((40, 60, 3), np.uint8)
"""Red at the top left, blue at the bottom right, black elsewhere; RGB."""
QUARTERS[:20, :30] = RED
QUARTERS[20:, 30:] = BLUE
LOSSLESS_WEBP = [cv2.IMWRITE_WEBP_QUALITY, 101]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, extra: bytes = b"") -> bytes:
    """Return a PNG of one row (or none), with ``extra`` chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(b"\0" + pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)


def encoded(suffix: str, image: npt.NDArray[np.uint8] = QUARTERS, options: list[int] | None = None) -> bytes:
    """Encode an RGB or RGBA picture."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(suffix, cv2.cvtColor(image, order), options or [])[1].tobytes()


def corners(image: npt.NDArray[np.uint8]) -> str:
    """Name the colour of the four corners, row by row: R, G, B or . for dark."""
    spots = (image[5, 5], image[5, -6], image[-6, 5], image[-6, -6])
    return "".join("RGB"[int(spot.argmax())] if spot.max() > 100 else "." for spot in spots)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(2, 1, 8, 0, bytes([0, 200])), [BLACK, [200, 200, 200]]),
        (png(2, 1, 16, 0, struct.pack(">HH", 0x8000, 65535)), [[128, 128, 128], WHITE]),
        (png(2, 1, 1, 0, b"\x80"), [WHITE, BLACK]),
        (png(2, 1, 8, 2, bytes(RED + BLUE)), [RED, BLUE]),
        (png(2, 1, 16, 2, struct.pack(">6H", 65535, 0, 0, 0, 0, 0x8000)), [RED, [0, 0, 128]]),
        (png(2, 1, 8, 3, bytes([0, 1]), chunk(b"PLTE", PALETTE)), [RED, BLUE]),
        (png(2, 1, 4, 3, b"\x01", chunk(b"PLTE", PALETTE)), [RED, BLUE]),
        (png(2, 1, 8, 4, bytes([100, 255, 100, 0])), [[100, 100, 100], WHITE]),
        (png(2, 1, 16, 4, struct.pack(">4H", 0x8000, 65535, 0, 0)), [[128, 128, 128], WHITE]),
        (png(2, 1, 8, 6, bytes([*RED, 128, *BLUE, 0])), [[255, 127, 127], WHITE]),
        (png(2, 1, 16, 6, struct.pack(">8H", 65535, 0, 0, 0x8000, 0, 0, 65535, 0)), [[255, 127, 127], WHITE]),
    ],
    ids=[
        "grey8",
        "grey16",
        "grey1",
        "rgb8",
        "rgb16",
        "palette8",
        "palette4",
        "greyalpha8",
        "greyalpha16",
        "rgba8",
        "rgba16",
    ],
)
def test_every_kind_of_png_becomes_rgb_of_8_bits(content: bytes, expected: list[list[int]]) -> None:
    image = decode(content)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.tolist() == [expected]


def test_a_transparent_palette_entry_is_laid_over_white_however_late_it_is_declared() -> None:
    late = chunk(b"tEXt", b"note\0" + b"x" * 5000) + chunk(b"PLTE", PALETTE) + chunk(b"tRNS", bytes([255, 0]))
    assert decode(png(2, 1, 8, 3, bytes([0, 1]), late)).tolist() == [[RED, WHITE]]


def test_a_transparent_key_colour_is_laid_over_white() -> None:
    key = chunk(b"tRNS", struct.pack(">3H", *RED))
    assert decode(png(2, 1, 8, 2, bytes(RED + BLUE), key)).tolist() == [[WHITE, BLUE]]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_a_lossless_format_gives_back_its_pixels(suffix: str) -> None:
    content = encoded(suffix, options=LOSSLESS_WEBP if suffix == ".webp" else None)
    np.testing.assert_array_equal(decode(content), QUARTERS)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_lossy_format_keeps_colour_and_place(suffix: str) -> None:
    image = decode(encoded(suffix))
    assert image.shape == (40, 60, 3)
    assert corners(image) == "R..B"


def test_a_progressive_jpeg_is_read() -> None:
    assert corners(decode(encoded(".jpg", options=[cv2.IMWRITE_JPEG_PROGRESSIVE, 1]))) == "R..B"


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    content = cv2.imencode(".jpg", np.full((8, 8), 77, np.uint8))[1].tobytes()
    np.testing.assert_array_equal(decode(content), np.full((8, 8, 3), 77))


def test_a_cmyk_jpeg_keeps_its_colour() -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the CMYK file; torchvision brings it")
    file = io.BytesIO()
    pillow.new("CMYK", (8, 8), (0, 255, 255, 0)).save(file, "JPEG")
    red, green, blue = decode(file.getvalue())[4, 4].tolist()
    assert red > 250 > 10 > max(green, blue)  # noqa: PLR0133 - reads as one sentence: red, and nothing else


def test_a_tiff_of_16_bits_is_scaled_by_its_full_range() -> None:
    deep = cv2.cvtColor(QUARTERS, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    np.testing.assert_array_equal(decode(cv2.imencode(".tiff", deep)[1].tobytes()), QUARTERS)


def test_a_tiff_of_floats_is_refused_with_its_type() -> None:
    content = cv2.imencode(".tiff", np.zeros((4, 4, 3), np.float32))[1].tobytes()
    with pytest.raises(DataError, match="pixels of type float32"):
        decode(content)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_alpha_is_laid_over_white(suffix: str) -> None:
    image = np.dstack([QUARTERS, np.full(QUARTERS.shape[:2], 128, np.uint8)])
    seen = decode(encoded(suffix, image, LOSSLESS_WEBP if suffix == ".webp" else None))
    assert seen[5, 5].tolist() == [255, 127, 127]


def test_a_bmp_of_32_bits_with_an_unused_byte_is_not_taken_for_transparent() -> None:
    pixels = bytes([*BLUE[::-1], 0, *RED[::-1], 0])
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels
    assert decode(content).tolist() == [[BLUE, RED]]


def test_a_bmp_of_the_first_edition_is_read() -> None:
    pixels = bytes(BLUE[::-1] + RED[::-1]) + bytes(2)
    content = b"BM" + struct.pack("<IHHIIHHHH", 26 + len(pixels), 0, 0, 26, 12, 2, 1, 1, 24) + pixels
    assert decode(content).tolist() == [[BLUE, RED]]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, "R..B"), (2, ".RB."), (3, "B..R"), (4, ".BR."), (5, "R..B"), (6, ".RB."), (7, "B..R"), (8, ".BR.")],
)
@pytest.mark.parametrize("kind", ["jpeg", "png", "png with alpha", "webp with alpha"])
def test_exif_orientation_is_undone(kind: str, orientation: int, expected: str) -> None:
    note = exif(orientation)
    clear = np.dstack([QUARTERS, np.full(QUARTERS.shape[:2], 255, np.uint8)])
    if kind == "jpeg":
        plain = encoded(".jpg")
        content = plain[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(note)) + b"Exif\0\0" + note + plain[2:]
    elif kind.startswith("png"):
        plain = encoded(".png", clear if "alpha" in kind else QUARTERS)
        content = plain[:33] + chunk(b"eXIf", note) + plain[33:]
    else:
        body = encoded(".webp", clear, LOSSLESS_WEBP)[12:]
        size = (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
        body = b"VP8X" + struct.pack("<I", 10) + b"\x18\0\0\0" + size + body
        body += b"EXIF" + struct.pack("<I", len(note)) + note
        content = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    image = decode(content)
    assert image.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    assert image.flags.c_contiguous
    assert corners(image) == expected


def test_an_orientation_that_cannot_be_is_ignored() -> None:
    plain = encoded(".png", np.dstack([QUARTERS, np.full(QUARTERS.shape[:2], 255, np.uint8)]))
    for note in (exif(9), exif(6)[:9], b"II*\0\xff\xff\xff\xff"):
        np.testing.assert_array_equal(decode(plain[:33] + chunk(b"eXIf", note) + plain[33:]), QUARTERS)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_a_picture_cut_off_anywhere_is_refused(suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    content = encoded(suffix, noise)
    for length in [*range(48), *range(48, len(content), 37), len(content) - 1]:
        with pytest.raises(DataError):
            decode(content[:length])


def test_a_cut_off_jpeg_with_a_whole_thumbnail_is_refused() -> None:
    inner, plain = encoded(".jpg", QUARTERS[:8, :8].copy()), encoded(".jpg")
    content = plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(inner)) + inner + plain[2:]
    assert corners(decode(content)) == "R..B"
    with pytest.raises(DataError, match="truncated JPEG file"):
        decode(content[:-40])


def test_a_png_with_one_bit_changed_is_refused_by_its_checksum() -> None:
    content = bytearray(encoded(".png"))
    content[content.index(b"IDAT") + 20] ^= 1
    with pytest.raises(DataError, match="damaged PNG file: the checksum of its part IDAT is wrong"):
        decode(bytes(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"this is a text file that someone called .jpg\n", "not a picture"),
        (b"\xff\xd8" + bytes(3_000_000), "truncated JPEG file"),
        (b"GIF89a" + bytes(100), "not a picture: the content is not JPEG, PNG, BMP, TIFF or WebP"),
        (png(0, 0, 8, 2, b""), "its size is zero"),
        (png(50_000, 50_000, 8, 0, b""), "50000x50000 pixels are more than 180,000,000; refused before unpacking"),
    ],
    ids=["empty", "text", "zeros", "gif", "no size", "bomb"],
)
def test_what_is_not_a_picture_is_refused_and_says_why(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(content)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_the_header_tells_the_size_without_unpacking(suffix: str) -> None:
    header = read_header(encoded(suffix))
    assert (header.width, header.height) == (60, 40)
    assert header.format.lower() == {".jpg": "jpeg"}.get(suffix, suffix[1:])


def test_a_picture_20000_pixels_wide_is_read() -> None:
    assert decode(encoded(".png", np.zeros((9, 20_000, 3), np.uint8))).shape == (9, 20_000, 3)


def test_a_picture_of_one_pixel_is_read() -> None:
    assert decode(png(1, 1, 8, 2, bytes(GREEN))).tolist() == [[GREEN]]


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened: No such file"):
        read_picture(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="cannot be opened: Is a directory"):
        read_picture(tmp_path)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "wrongly_named.jpg").write_bytes(encoded(".png"))
    np.testing.assert_array_equal(read_picture(tmp_path / "wrongly_named.jpg"), QUARTERS)


def test_codecs_print_nothing_of_their_own(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp"):
        content = encoded(suffix)
        (tmp_path / f"cut{suffix}").write_bytes(content[:-9])
        (tmp_path / f"broken{suffix}").write_bytes(content[:40] + bytes(30) + content[70:])
    code = (
        "import sys, pathlib; from kdlight_edge.picture import *\n"
        "for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: read_picture(file)\n"
        "    except DataError as error: print(file.name, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert all(f"cut{suffix} " in ran.stdout for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp"))
