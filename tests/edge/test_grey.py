"""A JPEG is decoded to brightness alone where that is all it has or all the network looks at, to the same input."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge import stream
from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.frame import Frame
from kdlight_edge.golden import golden_picture
from kdlight_edge.header import read_header
from kdlight_edge.manifest import Input
from kdlight_edge.picture import Need, decode, decode_reduced
from kdlight_edge.prepare import need_of, prepare_input
from kdlight_edge.zoo import bundled

SIZES = ((224, 224), (225, 167), (640, 480), (1280, 720), (1600, 1200))
MEAN, HUNDREDTH = 1.0, 4.0
"""Mean and 99th percentile of the difference in grey levels: colours that no screen has are cut off in RGB alone."""


def encode(image: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def sized(number: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(golden_picture(number), size, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("resize", ["squash", "fit", "crop"])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_without_colours_makes_the_very_same_input(
    size: tuple[int, int], resize: Literal["squash", "fit", "crop"]
) -> None:
    plain = encode(cv2.cvtColor(sized(5, size), cv2.COLOR_RGB2GRAY))
    assert read_header(plain).components == 1
    for colour in ("rgb", "grey"):
        spec = Input(128, 128, resize=resize, colour=colour)
        need = need_of(spec)
        read, full = decode_reduced(plain, need)
        assert read.ndim == 2
        coloured = np.dstack([read] * 3)
        np.testing.assert_array_equal(prepare_input(read, spec, full), prepare_input(coloured, spec, full))
        if full is None:
            np.testing.assert_array_equal(coloured, decode(plain))


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("size", SIZES)
def test_a_network_that_sees_grey_gets_the_same_input_within_the_bound(size: tuple[int, int]) -> None:
    spec = Input(128, 128, colour="grey")
    for number in range(6):
        content = encode(cv2.cvtColor(sized(number, size), cv2.COLOR_RGB2BGR))
        read, full = decode_reduced(content, need_of(spec))
        whole, again = decode_reduced(content, need_of(spec, live=True))
        assert (read.ndim, whole.ndim, full) == (2, 3, again)
        difference = np.abs(prepare_input(read, spec, full).astype(int) - prepare_input(whole, spec, full))
        assert difference.mean() <= MEAN
        assert np.percentile(difference, 99) <= HUNDREDTH


@pytest.mark.usefixtures("decoder")
def test_a_jpeg_of_red_green_and_blue_is_read_by_its_brightness() -> None:
    codecs = pytest.importorskip("imagecodecs")
    spec = Input(128, 128, colour="grey")
    content = codecs.jpeg8_encode(sized(3, (320, 240)), level=95, colorspace="RGB", outcolorspace="RGB")
    read, full = decode_reduced(content, need_of(spec))
    assert read.ndim == 2
    assert np.abs(prepare_input(read, spec, full).astype(int) - prepare_input(decode(content), spec)).max() <= 2


def test_four_components_and_other_formats_keep_their_colours() -> None:
    pillow = pytest.importorskip("PIL.Image")
    stream_ = io.BytesIO()
    pillow.fromarray(sized(1, (64, 64))).convert("CMYK").save(stream_, "JPEG")
    png = bytes(cv2.imencode(".png", sized(1, (64, 64)))[1].tobytes())
    for content in (stream_.getvalue(), png):
        assert decode_reduced(content, need_of(Input(32, 32, colour="grey")))[0].shape == (64, 64, 3)


def test_a_folder_answers_the_same_with_and_without_a_sink_that_draws(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        grey = cv2.cvtColor(sized(number, (100, 90)), cv2.COLOR_RGB2GRAY)  # too small for a scale
        (tmp_path / "in" / f"{number}.jpg").write_bytes(encode(grey))
    arguments = ["infer", "--folder", str(tmp_path / "in"), "--model", str(tiny_bundle()), "--json"]
    answers = []
    for more in ([], ["--save", str(tmp_path / "out")]):
        assert main([*arguments, *more]) == 0
        records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        answers.append([(record["label"], record["probability"], record["outlier"]) for record in records])
    assert answers[0] == answers[1]


class Camera:
    """Keeps what it is told is needed, and gives nothing."""

    live = True

    def __init__(self) -> None:
        self.need: Need | None = None

    def shrink(self, need: Need) -> None:
        """Keep it."""
        self.need = need

    def __iter__(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


class Cards(Camera):
    """The same, as an album."""

    live = False

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Frame:
        raise IndexError(index)


def test_a_camera_keeps_its_colours_for_the_version_that_may_follow() -> None:
    needs = {}
    (model,) = (path for path in bundled() if path.stem == "chest-xray")
    with open_classifier(model, threads=1) as classifier:
        for source in (Camera(), Cards()):
            stream.run(source, classifier, [])
            assert source.need is not None
            needs[type(source)] = source.need.colours
    assert needs == {Camera: True, Cards: False}
