"""Headers that contradict their pixels or themselves: one line each, which quotes none of their values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.cli import main

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
