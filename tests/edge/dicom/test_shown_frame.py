"""The picture of an object of many frames: of the one that speaks most for the class that matters, which it names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kdlight_edge.classifier import open_classifier
from kdlight_edge.decide import Settings
from kdlight_edge.sinks.dicom import DicomAnswers
from kdlight_edge.sources.dicom import DicomFolder
from kdlight_edge.stream import run

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
RED, GREEN, OLIVE = (np.full((64, 48, 3), colour, np.uint8) for colour in ((220, 0, 0), (0, 220, 0), (120, 140, 0)))


@pytest.mark.parametrize("topk", [1, 2])
@pytest.mark.parametrize(
    ("frames", "shown"), [([GREEN, OLIVE, GREEN], 2), ([OLIVE, GREEN, RED], 3), ([RED, OLIVE, GREEN], 1)]
)
def test_the_picture_is_of_the_frame_that_speaks_most_for_the_positive_class(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, frames: list[np.ndarray], shown: int, topk: int
) -> None:
    scan = make_scan(np.stack(frames), frames=3, modality="US")
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    with open_classifier(tiny_bundle(), threads=1, settings=Settings(topk=topk)) as classifier:
        sink = DicomAnswers(classifier, folder=tmp_path / "out", sender=None, tell=pytest.fail)
        run(DicomFolder(tmp_path / "scan.dcm"), classifier, [sink])
    (picture,) = (a for a in map(pydicom.dcmread, (tmp_path / "out").iterdir()) if a.Modality != "SR")
    assert picture.SourceImageSequence[0].ReferencedFrameNumber == shown


def test_the_picture_of_an_object_of_one_frame_names_no_frame(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan
) -> None:
    make_scan(RED).save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        sink = DicomAnswers(classifier, folder=tmp_path / "out", sender=None, tell=pytest.fail)
        run(DicomFolder(tmp_path / "scan.dcm"), classifier, [sink])
    (picture,) = (a for a in map(pydicom.dcmread, (tmp_path / "out").iterdir()) if a.Modality != "SR")
    assert "ReferencedFrameNumber" not in picture.SourceImageSequence[0]
