"""A CD or stick with scans, as a hospital gives it away: a DICOMDIR, and a program with its pictures."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from kdlight_edge.errors import SourceError
from kdlight_edge.sources import kind_of, open_source

MakeScan = Callable[..., Dataset]


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir"])
def test_the_scans_of_a_medium_are_read_and_not_the_logo_of_its_program(
    tmp_path: Path, make_scan: MakeScan, name: str
) -> None:
    (tmp_path / name).write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    cv2.imwrite(str(tmp_path / "logo.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images").mkdir()
    make_scan(np.full((8, 8), 90, np.uint8)).save_as(tmp_path / "images/im1", enforce_file_format=True)
    assert kind_of(str(tmp_path)) == "dicom"
    (item,) = open_source(str(tmp_path))
    assert Path(item.source).name == "im1"


def test_who_names_the_list_of_a_medium_is_told_to_name_its_folder() -> None:
    with pytest.raises(SourceError, match="name the folder that it lies in"):
        open_source(str(get_testdata_file("DICOMDIR")))
