"""Scans made of a few chosen numbers, so that what a reader sees can be computed by hand."""

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from tests.edge.dicom.dcmtk import save

if TYPE_CHECKING:
    from tests.edge.dicom.node import Node

MakeScan = Callable[..., Dataset]

NAME, NUMBER = "DOE^JANE", "PATIENT-4711"
"""What must never be told."""

CLASSES = {
    "DX": UID("1.2.840.10008.5.1.4.1.1.1.1"),
    "CT": UID("1.2.840.10008.5.1.4.1.1.2"),
    "US": UID("1.2.840.10008.5.1.4.1.1.3.1"),
}


@pytest.fixture(scope="session")
def make_scan() -> MakeScan:
    """Return ``make(pixels, *, modality, frames, **tags) -> Dataset``; pixels are [frames,] h, w [, 3]."""
    return _make_scan


def _make_scan(pixels: npt.NDArray[Any], *, modality: str = "DX", frames: int = 0, **tags: Any) -> Dataset:
    shape = pixels.shape[1:] if frames else pixels.shape
    scan = Dataset()
    scan.file_meta = FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.SOPClassUID = scan.file_meta.MediaStorageSOPClassUID = CLASSES[modality]
    scan.SOPInstanceUID = scan.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    scan.StudyInstanceUID, scan.SeriesInstanceUID = generate_uid(), generate_uid()
    scan.PatientName, scan.PatientID, scan.PatientBirthDate, scan.PatientSex = NAME, NUMBER, "19700101", "F"
    scan.StudyDate, scan.StudyTime, scan.StudyID, scan.AccessionNumber = "20260101", "120000", "1", "ACCESSION"
    scan.ReferringPhysicianName = "ROE^RICHARD"
    scan.Modality, scan.BodyPartExamined, scan.SeriesNumber, scan.InstanceNumber = modality, "CHEST", 1, 1
    scan.Rows, scan.Columns = shape[:2]
    scan.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if scan.SamplesPerPixel == 3:
        scan.PlanarConfiguration = 0
    if frames:
        scan.NumberOfFrames = frames
    bits = pixels.dtype.itemsize * 8
    scan.BitsAllocated, scan.BitsStored, scan.HighBit = bits, bits, bits - 1
    scan.PixelRepresentation = int(pixels.dtype.kind == "i")
    scan.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    content = np.ascontiguousarray(pixels).tobytes()
    for keyword, value in tags.items():
        setattr(scan, keyword, value)
    scan.add_new("PixelData", "OB" if bits == 8 else "OW", content + b"\0" * (len(content) % 2))
    return scan


@pytest.fixture(autouse=True)
def _quiet(recwarn: pytest.WarningsRecorder) -> None:
    """Pytest turns warnings into errors; pydicom's about odd files are told by our own lines, as they are in use."""
    del recwarn
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)(\..*)?$")


@pytest.fixture
def listen(tiny_bundle: Callable[..., Path]) -> "Iterator[Callable[..., Node]]":
    """Return ``start(**settings) -> Node``, a listener that runs until the end of the test."""
    from kdlight_edge.dicom.listen import Listen
    from tests.edge.dicom.node import Node

    nodes = []

    def start(**settings: Any) -> Node:
        nodes.append(Node(tiny_bundle(), Listen("127.0.0.1", 0, **settings)))
        return nodes[-1]

    yield start
    for node in nodes:
        node.end()


@pytest.fixture
def answer(tmp_path: Path, tiny_bundle: Callable[..., Path], make_scan: MakeScan) -> Dataset:
    """A structured report that was made of a scan."""
    from kdlight_edge.classifier import open_classifier
    from kdlight_edge.decide import Settings
    from kdlight_edge.sinks.dicom import DicomAnswers
    from kdlight_edge.sources.dicom import DicomFolder
    from kdlight_edge.stream import run

    save(make_scan(np.full((64, 48, 3), (220, 0, 0), np.uint8)), tmp_path / "in/1")
    with open_classifier(tiny_bundle(), threads=1, settings=Settings(topk=2)) as classifier:
        sink = DicomAnswers(classifier, folder=tmp_path / "made", sender=None, tell=print)
        run(DicomFolder(tmp_path / "in"), classifier, [sink])
    found = [dcmread(file) for file in (tmp_path / "made").glob("*.dcm")]
    return next(one for one in found if one.Modality == "SR")


@pytest.fixture
def sockets_of_pynetdicom() -> Iterator[None]:
    """A connection that is refused leaves pynetdicom's socket to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
