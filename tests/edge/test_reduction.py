"""A JPEG decoded by another decoder or at a part of its size is the same picture, exactly or within the bound."""

import itertools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge import picture
from kdlight_edge.bundle import open_bundle
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.errors import DataError
from kdlight_edge.golden import golden_picture
from kdlight_edge.header import read_header
from kdlight_edge.manifest import Input
from kdlight_edge.picture import Need, decode, decode_reduced
from kdlight_edge.prepare import need_of, prepare_input, reduction
from kdlight_edge.zoo import bundled

SQUASH = Input(128, 128)
SIZES = ((4000, 3000), (4032, 3024), (2592, 1944), (1920, 1080), (1600, 1200), (1280, 720))
MEAN, HUNDREDTH, LOGIT = 2.0, 13.0, 0.25
"""The bound: mean and 99th percentile of the difference in grey levels, the largest difference of a logit, in INT8."""


def encode(image: npt.NDArray[np.uint8], *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes())


def turned(content: bytes, orientation: int) -> bytes:
    """Put an EXIF orientation into a JPEG."""
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, 1, orientation) + bytes(4)
    body = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def at(scale: int) -> Callable[[int, int], int]:
    """Decode every picture at this scale."""
    return lambda _width, _height: scale


def real() -> list[Path]:
    """Give real pictures where the machine has them (KDLIGHT_TEST_PICTURES names a folder)."""
    folder = os.environ.get("KDLIGHT_TEST_PICTURES")
    return sorted(Path(folder).rglob("*.jpg"))[:400] if folder else []


def kinds_of(width: int, height: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Give pictures of a size: smooth with edges, finest detail, and nothing but noise."""
    rng = np.random.default_rng(width)
    smooth: Any = cv2.resize(golden_picture(5), (width, height), interpolation=cv2.INTER_CUBIC)
    tile = golden_picture(2)
    rows, columns = -(-height // tile.shape[0]), -(-width // tile.shape[1])
    found = {
        "smooth": smooth,
        "fine": np.tile(tile, (rows, columns, 1))[:height, :width],
        "noise": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
    }
    pictures = [decode(file.read_bytes()) for file in real()]
    if pictures:
        canvas = np.zeros((height, width, 3), np.uint8)
        for top in range(0, height, 64):
            for left in range(0, width, 64):
                one = pictures[int(rng.integers(len(pictures)))][: min(64, height - top), : min(64, width - left)]
                canvas[top : top + one.shape[0], left : left + one.shape[1]] = one
        found["real"] = canvas
    return found


@pytest.mark.parametrize("sampling", [0x411111, 0x211111, 0x221111, 0x111111])
@pytest.mark.parametrize("size", [(224, 224), (225, 167), (17, 9), (640, 480)])
def test_both_decoders_give_the_same_pixels(
    size: tuple[int, int], sampling: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    grey = encode(cv2.cvtColor(noise, cv2.COLOR_BGR2GRAY))  # type: ignore[arg-type]
    progressive = encode(noise, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    files = [encode(noise, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling), grey, progressive]
    for content, colours in itertools.product(files, (True, False)):
        for scale in (1, 2, 4, 8):
            first, full = decode_reduced(content, Need(at(scale), colours))
            with monkeypatch.context() as without:
                without.setattr(picture, "_turbo", lambda: None)
                second, same = decode_reduced(content, Need(at(scale), colours))
            np.testing.assert_array_equal(first, second)
            assert full == same == (None if scale == 1 else size)
            channels = (3,) if colours and content is not grey else ()
            assert first.shape == (-(-size[1] // scale), -(-size[0] // scale), *channels)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_upright_with_both_decoders_at_every_scale(orientation: int) -> None:
    image = np.zeros((96, 160, 3), np.uint8)
    image[:32, :64] = (0, 0, 255)
    content = turned(encode(image), orientation)
    assert read_header(content).orientation == orientation
    whole: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode(content), whole)
    asked: list[tuple[int, int]] = []

    def choose(width: int, height: int) -> int:
        asked.append((width, height))
        return 2

    small, full = decode_reduced(content, Need(choose))
    assert asked == [full] == [whole.shape[1::-1]]
    assert small.shape[:2] == (whole.shape[0] // 2, whole.shape[1] // 2)
    assert np.abs(cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 3


def test_a_jpeg_with_a_hole_is_no_picture_and_one_with_bytes_too_many_is() -> None:
    pytest.importorskip("simplejpeg")
    for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)):
        content = encode(golden_picture(1), *options)
        middle = len(content) // 2
        for hole in (content[:middle] + bytes(2000) + content[middle + 2000 :], content[:middle]):
            with pytest.raises(DataError, match="damaged JPEG file: a part of the picture is lost"):
                decode(hole.removesuffix(b"\xff\xd9") + b"\xff\xd9")
    more = encode(golden_picture(1))[:-2] + b"\0\0\0\xff\xd9"
    np.testing.assert_array_equal(decode(more), decode(encode(golden_picture(1))))


def test_cmyk_is_left_to_opencv() -> None:
    content = encode(golden_picture(1))
    header = content.index(b"\xff\xc0")
    assert not read_header(content[: header + 9] + b"\x04" + content[header + 10 :]).plain


@pytest.mark.parametrize(
    ("width", "height", "spec", "scale"),
    [
        (4000, 3000, SQUASH, 8),
        (1920, 1080, SQUASH, 2),
        (1280, 720, SQUASH, 2),
        (640, 480, SQUASH, 1),
        (224, 224, SQUASH, 1),
        (9000, 500, SQUASH, 1),
        (4000, 3000, Input(224, 224), 4),
        (4000, 3000, Input(128, 128, resize="fit"), 8),
        (4000, 3000, Input(128, 128, resize="crop"), 1),
        (4000, 3000, Input(128, 128, interpolation="linear"), 1),
        (4000, 3000, Input(128, 128, interpolation="area"), 8),
    ],
)
def test_the_scale_is_chosen_by_the_pixels_that_are_left(width: int, height: int, spec: Input, scale: int) -> None:
    assert reduction(width, height, spec) == scale


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("size", SIZES)
def test_a_reduced_picture_makes_the_same_input_within_the_bound(size: tuple[int, int]) -> None:
    name = next(one for one in bundled() if open_bundle(one).manifest.input.width == SQUASH.width)
    with open_classifier(name, threads=1) as classifier:
        for resize in ("squash", "fit"):
            spec = Input(128, 128, resize=resize)
            for kind, image in kinds_of(*size).items():
                content = encode(image)
                small, full = decode_reduced(content, need_of(spec))
                assert full == size
                both = prepare_input(small, spec, full), prepare_input(decode(content), spec)
                difference = np.abs(both[0].astype(int) - both[1])
                assert difference.mean() <= MEAN, (kind, resize)
                assert np.percentile(difference, 99) <= HUNDREDTH, (kind, resize)
                logits = [classifier.engine.run(one[np.newaxis]).logits for one in both]
                assert np.abs(logits[0] - logits[1]).max() <= LOGIT, (kind, resize)


@pytest.mark.usefixtures("decoder")
def test_a_side_that_is_no_whole_number_of_reduced_pixels_makes_the_same_input_within_the_bound() -> None:
    spec = Input(33, 33)
    for kind, image in kinds_of(1000, 700).items():
        content = encode(image)
        small, full = decode_reduced(content, need_of(spec))
        assert full == (1000, 700)
        difference = np.abs(prepare_input(small, spec, full).astype(int) - prepare_input(decode(content), spec))
        assert difference.mean() <= MEAN, kind
        assert np.percentile(difference, 99) <= HUNDREDTH, kind


def test_a_folder_is_decoded_smaller_only_where_nobody_draws_the_pictures(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encode(cv2.resize(golden_picture(3), (1600, 1200))))  # type: ignore[arg-type]
    arguments = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--json"]
    records = []
    for more in ([], ["--save", str(tmp_path / "out")]):
        assert main([*arguments, *more]) == 0
        records.append(json.loads(capfd.readouterr().out))
    saved = decode((tmp_path / "out" / "a.jpg").read_bytes())
    assert saved.shape[:2] >= (1200, 1600)
    assert records[0]["label"] == records[1]["label"]
    assert records[0]["probability"] == pytest.approx(records[1]["probability"], abs=0.01)
