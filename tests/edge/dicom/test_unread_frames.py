"""An object of which some frames cannot be read: answered in its turn, and its report says that frames are missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from kdlight_edge.classifier import open_classifier
from kdlight_edge.decide import failed
from kdlight_edge.frame import Unreadable
from kdlight_edge.sinks.dicom import DicomAnswers
from kdlight_edge.sources.dicom import DicomFolder

MakeScan = Callable[..., Dataset]
MakeBundle = Callable[..., Path]
RED = np.full((64, 48, 3), (220, 0, 0), np.uint8)
GREEN = np.full((64, 48, 3), (0, 220, 0), np.uint8)
TORN = b"\1" + b"\0" * 71
"""A frame in run lengths that ends before its first pixel."""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_object_with_a_frame_that_cannot_be_read_is_answered_at_its_end_and_as_a_part(
    tmp_path: Path, tiny_bundle: MakeBundle, make_scan: MakeScan, number: int
) -> None:
    scan = make_scan(np.stack([RED, RED, GREEN]), frames=3, modality="US")
    scan.compress(RLELossless, generate_instance_uid=False)
    frames = list(generate_frames(scan.PixelData, number_of_frames=3))
    frames[number - 1] = TORN
    scan.PixelData = encapsulate(frames)
    scan.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    folder = tmp_path / "out"
    with open_classifier(tiny_bundle(), threads=1) as classifier:
        sink = DicomAnswers(classifier, folder=folder, sender=None, tell=pytest.fail)
        for item in DicomFolder(tmp_path / "scan.dcm"):
            assert not list(folder.iterdir())
            read = None if isinstance(item, Unreadable) else item
            sink.write(failed(item) if isinstance(item, Unreadable) else classifier.classify(item), read)
        answers = [pydicom.dcmread(file) for file in folder.iterdir()]  # the run goes on: nothing is closed yet
    (report,) = (answer for answer in answers if answer.Modality == "SR")
    assert len(answers) == 2
    assert report.CompletionFlag == "PARTIAL"
    assert report.CompletionFlagDescription == "1 of 3 frames have no answer"
