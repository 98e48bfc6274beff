"""A DICOM object as frames with what may be told of it: the file that owns pydicom's reader."""

import io
import logging
import os
import time
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from kdlight_edge.dicom.claims import check_claims
from kdlight_edge.dicom.identity import RUN
from kdlight_edge.dicom.pixels import CODE, check_header, shown
from kdlight_edge.dicom.region import region_of
from kdlight_edge.errors import DataError
from kdlight_edge.frame import Frame, Moment, Unreadable

CAUTION = "CAUTION: not for diagnostic use"
"""Said in every line and every answer about a scan."""

MODEL_NAME = "kdlight-edge"
"""Manufacturer's model name in the answers, by which they are told from scans."""

LARGEST_FILE = 2 << 30
"""Bytes of an object above which it is refused unread."""

LARGEST_INFLATED = 128 << 20
"""Bytes that a deflated object may have once it is inflated: zlib makes up to a thousand of one, and nobody asks."""

MOST_FRAMES = 100_000
"""Frames of one object at most: a header can claim any number."""

IDENTIFIERS = {
    "patient": "PatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID",
}  # fmt: skip
"""What is told as a hash, by the name it is told under."""

_COMPUTED = {
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose (RT Dose)",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
}
"""SOP classes whose pixels are no picture of anybody, though they read like one."""

_STEP = 1 << 16
"""Bytes that are inflated at a time."""

_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR: a list of files, not a scan."""

# What these complain about quotes values, and a value may be a name: defects are reported once, by us, without it. Said
# once and for the whole process, as to silence a call (`warnings.catch_warnings`) would be undone by another thread.
warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)(\..*)?$")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


def read(source: str | os.PathLike[str] | bytes) -> Dataset:
    """Read a whole object from a file or its bytes.

    Raises:
        DataError: it cannot be opened, is too large or is not DICOM; the message holds no value of the file.
    """
    try:
        if not isinstance(source, bytes):
            source = _content(Path(source))
        return with_bytes(_read(io.BytesIO(source)))
    except DataError:
        raise
    except InvalidDicomError as error:
        raise DataError(
            "not a DICOM file: no DICM at byte 128 (dcmtk makes a file of a bare scan: dcmconv OLD NEW)"
        ) from error
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or type(error).__name__}") from error
    except Exception as error:  # a damaged file makes the reader raise anything, and what it quotes may be a name
        raise DataError(f"not a DICOM file that can be read ({type(error).__name__})") from error


def _read(file: BinaryIO, **how: Any) -> Dataset:
    """As ``pydicom.dcmread``, but a deflated object that would fill the memory is refused (`DataError`)."""
    read_preamble(file, force=False)
    meta = _read_file_meta_info(file)  # the very function that the reader asks: no header means another thing to it
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        check_inflated(file)
    file.seek(0)
    return pydicom.dcmread(file, **how)


def with_bytes(dataset: Dataset) -> Dataset:
    """Return an object that was just read, with ``as_read``: its elements' bytes by tag, before any is looked at.

    To look decodes, and what a name has beyond the character set that the object names would be lost.
    """
    elements = [(tag, raw) for tag, raw in dataset.items() if tag.group < 0x7FE0]  # noqa: PLR2004 - that of the pixels
    dataset.as_read = {tag: raw.value for tag, raw in elements if isinstance(raw, RawDataElement)}
    return dataset


def check_inflated(file: BinaryIO) -> None:
    """Read deflated content to its end, and refuse it where it would inflate to more than `LARGEST_INFLATED`.

    Raises:
        DataError: it would.
        zlib.error: it is damaged.
    """
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (rest := file.read(_STEP)):
        while rest and not inflater.eof:  # behind its end stands a byte that makes the length even
            size += len(inflater.decompress(rest, _STEP))
            if size > LARGEST_INFLATED:
                raise DataError(f"inflates to more than {LARGEST_INFLATED:,} bytes; send it uncompressed or as JPEG")
            rest = inflater.unconsumed_tail


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size > LARGEST_FILE:
        raise DataError(f"{size:,} bytes are more than {LARGEST_FILE:,}; refused unread")
    return file.read_bytes()


def frames_in(file: str) -> int:
    """Return how many frames a DICOM file says it has, 0 for a DICOMDIR, by its header alone; 1 where that is torn."""
    try:
        with Path(file).open("rb") as opened:
            dataset = _read(opened, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return 0
        return frames_of(dataset)
    except Exception:  # noqa: BLE001 - the reason is told when the file is read in its turn
        return 1


def frames_of(dataset: Dataset) -> int:
    """Return how many frames an object says it has; 1 where it does not say, or says what cannot be."""
    try:
        return min(max(1, int(dataset.get("NumberOfFrames") or 1)), MOST_FRAMES)
    except Exception:  # noqa: BLE001 - a torn element raises anything when it is looked at
        return 1


def about(dataset: Dataset, number: int) -> dict[str, Any]:
    """Return what may be told of frame ``number``, from 0: hashes, modality, body part and how many frames it is of."""
    told: dict[str, Any] = {name: RUN.hashed(name, _text(dataset, key)) for name, key in IDENTIFIERS.items()}
    return {
        **told,
        "modality": _code(dataset, "Modality"),
        "body_part": _code(dataset, "BodyPartExamined") or region_of(dataset, number),
        "frames": frames_of(dataset),
        "caution": CAUTION,
    }


def frame_of(
    dataset: Dataset, number: int, *, captured: Moment, source: str, index: int, more: Mapping[str, Any]
) -> Frame | Unreadable:
    """Return frame ``number``, from 0, of an object, or why there is none.

    Its ``meta`` is ``more``, of the source, with ``scan`` (what may be told) and ``dicom`` (the object itself, for
    answers; never to be told).
    """
    started = time.perf_counter()
    told = {**about(dataset, number), "frame": number + 1}
    try:
        image, window = _picture(dataset, number)
    except DataError as error:
        return Unreadable(str(error), captured, source, index, {**more, "scan": told})
    meta = {**more, "scan": {**told, "window": window}, "dicom": dataset}
    meta["decode_ms"] = (time.perf_counter() - started) * 1000
    return Frame(image, captured, source, index, 0, meta)


def no_scan(dataset: Dataset) -> str:
    """Return why a whole object is no scan, as a study holds many (reports, plans, our answers); empty for a scan."""
    if _text(dataset, "ManufacturerModelName") == MODEL_NAME:
        return "an answer of kdlight-edge, not a scan"
    if what := _COMPUTED.get(_text(dataset, "SOPClassUID").strip(" \0")):
        return f"{what}, computed from scans, is no picture for people"
    if _code(dataset, "PresentationIntentType") == "FOR PROCESSING":
        return "raw values of a detector (FOR PROCESSING), no picture for people; send the one FOR PRESENTATION"
    return "" if "PixelData" in dataset or "Rows" in dataset else "holds no picture (no pixel data)"


def _picture(dataset: Dataset, number: int) -> tuple[Any, str]:
    if why := no_scan(dataset):
        raise DataError(why)
    if "PixelData" not in dataset or dataset["PixelData"].is_empty:
        raise DataError("holds no picture (no pixel data)")
    try:
        check_header(dataset, number)
        check_claims(dataset, number)
        return shown(dataset, number)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError("does not fit into memory") from error
    except Exception as error:
        # Decoders, of which each syntax has several, raise what they like about damaged data; they see no names.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"does not decode ({_syntax(dataset)}): {reason}") from error


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    uid = meta.get("TransferSyntaxUID") if meta is not None else None
    return uid.name if uid is not None else "no transfer syntax"


def _text(dataset: Dataset, keyword: str) -> str:
    """Return an element as text, empty where it is missing or torn."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a torn element raises anything when it is looked at
        return ""
    return "" if value is None else str(value)


def _code(dataset: Dataset, keyword: str) -> str | None:
    code = _text(dataset, keyword).strip().upper()
    return code if CODE.fullmatch(code) else None
