"""Procedural pictures as the files that a device meets, each read back by the runtime's own decoders."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.frame import Moment, Unreadable
from kdlight_edge.golden import golden_picture
from kdlight_edge.picture import decode

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One file in memory, what it shows, and how the runtime reads it."""

    kind: str
    """For people."""
    content: bytes
    shown: Picture | None
    """What must come out, uint8 [h, w, 3] RGB; None for a lossy file."""
    read: Callable[[bytes], Picture]

    def seen(self) -> Picture:
        """Return what the runtime makes of the file."""
        return self.read(self.content)

    def known(self) -> Picture:
        """Return what the student is asked about: the very pixels that were encoded, where the file keeps them."""
        return self.seen() if self.shown is None else self.shown


def encoded_golden(seeds: Sequence[int], *, dicom: bool) -> list[Encoded]:
    """Return procedural pictures as JPEG, PNG and 16-bit PNG and, where asked, as two DICOM objects, a set per seed.

    Raises:
        ModuleNotFoundError: DICOM is asked for and pydicom is not installed.
    """
    files = [entry for seed in seeds for entry in _pictures(golden_picture(seed))]
    return files + [entry for seed in (seeds if dicom else ()) for entry in _scans(golden_picture(seed))]


def _pictures(picture: Picture) -> list[Encoded]:
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    deep = stored.astype(np.uint16) * 257
    return [
        Encoded("JPEG", _file(".jpg", stored), None, decode),
        Encoded("PNG", _file(".png", stored), picture, decode),
        Encoded("16-bit PNG", _file(".png", deep), picture, decode),
    ]


def _file(extension: str, picture: npt.NDArray[Any]) -> bytes:
    content: bytes = cv2.imencode(extension, picture)[1].tobytes()
    return content


def _scans(picture: Picture) -> list[Encoded]:
    """Return a colour object as it is, and a grey one of 16 bits with a window over its range, compressed by RLE."""
    grey: npt.NDArray[Any] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shown: Picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    return [
        Encoded("DICOM", _object(picture, compressed=False), picture, _read_scan),
        Encoded("compressed DICOM", _object(grey.astype(np.uint16) * 257, compressed=True), shown, _read_scan),
    ]


def _object(pixels: npt.NDArray[Any], *, compressed: bool) -> bytes:
    """Return an object of nobody, uint8 [h, w, 3] or uint16 [h, w], with the least that a reader asks for."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

    scan, bits = Dataset(), pixels.dtype.itemsize * 8
    scan.file_meta = FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.SOPClassUID = scan.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    scan.SOPInstanceUID = scan.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    scan.Modality = "OT"
    scan.Rows, scan.Columns = pixels.shape[:2]
    scan.BitsAllocated = scan.BitsStored = bits
    scan.HighBit, scan.PixelRepresentation = bits - 1, 0
    colour = pixels.ndim == 3  # noqa: PLR2004 - an axis of samples
    scan.SamplesPerPixel = 3 if colour else 1
    scan.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        scan.PlanarConfiguration = 0
    else:
        scan.WindowCenter, scan.WindowWidth = 1 << (bits - 1), 1 << bits
    scan.add_new("PixelData", "OB" if bits == 8 else "OW", np.ascontiguousarray(pixels).tobytes())  # noqa: PLR2004 - bits of a byte
    if compressed:
        scan.compress(RLELossless, generate_instance_uid=False)
    file = io.BytesIO()
    scan.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _read_scan(content: bytes) -> Picture:
    """Read an object as every source of scans does."""
    from kdlight_edge.dicom.scan import frame_of, read

    frame = frame_of(read(content), 0, captured=Moment.now(), source="memory", index=0, more={})
    if isinstance(frame, Unreadable):
        raise DataError(f"a DICOM object of the proof cannot be read: {frame.reason}")
    return frame.image
