"""Headers that contradict their pixels or themselves: one line each, which quotes none of their values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.cli import main
from kdlight_edge.frame import Unreadable
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


@pytest.mark.parametrize("empty", [b"", None])
def test_pixels_that_are_empty_are_no_picture(tmp_path: Path, make_scan: MakeScan, empty: bytes | None) -> None:
    scan = make_scan(GREY)
    scan.PixelData = empty
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    (item,) = open_source(str(tmp_path / "scan.dcm"))
    assert isinstance(item, Unreadable)
    assert "holds no picture" in item.reason
