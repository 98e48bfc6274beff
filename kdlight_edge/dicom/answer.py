"""Predictions about a DICOM object as two objects of its study: a structured report, and a picture with its heat map.

The report is a Comprehensive 3D SR after TID 1500 (PS3.16), unverified and preliminary, as the IHE profile "AI Results"
asks for; the picture is a Secondary Capture, which shows and is no data. Both say that they are not for diagnostic use.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom import sr
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ImplicitVRLittleEndian

from kdlight_edge import __version__
from kdlight_edge.decide import Prediction
from kdlight_edge.dicom.scan import CAUTION, MODEL_NAME, frames_of
from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Manifest

MAKER = "kdlight-edge project"

SCHEME = "99KDLIGHT"
"""Private coding scheme (PS3.16, 8): a bundle's labels have no codes of the world's."""

SERIES = {"SR": 9801, "SC": 9802}
"""Numbers of the new series, beyond those that scanners give."""

_EMPTY_WHERE_MISSING = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Elements of type 2: they may be empty and must be there."""

_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""What is written in an object's character sets (PS3.5, 6.1.2.3), or in another by mistake: copied as bytes."""

_NAMED_BY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""What an answer names its object by; an empty one names nothing."""

_MADE = ("InstanceCreation{}", "Content{}", "{}OfSecondaryCapture")
"""Elements that say when an answer was made, each a ``Date`` and a ``Time``."""

# It logs identifiers of the objects it copies from.
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Author:
    """Who answers: the bundle and the engine that runs it."""

    manifest: Manifest
    engine: str
    precision: str
    run: str
    """A word for this run, so that the answers for a study in one run are one series."""

    def series(self, study: str, kind: str) -> str:
        """Return the UID of the series that answers of a kind about a study belong to."""
        return _uid(self.run, study, kind, self.manifest.digest)

    @property
    def identity(self) -> dict[str, Any]:
        """What is the same in every object made here."""
        return {
            "manufacturer": MAKER,
            "manufacturer_model_name": MODEL_NAME,
            "software_versions": __version__,
            "device_serial_number": self.manifest.digest[:16],
            "series_description": CAUTION,
            "transfer_syntax_uid": ImplicitVRLittleEndian,
            "specific_character_set": None,  # highdicom knows none of those that take two; see `_finished`
            "contributing_equipment": [
                highdicom.ContributingEquipment(
                    MAKER,
                    codes.DCM.ProcessingEquipment,
                    manufacturer_model_name=_plain(self.manifest.name),
                    software_versions=_plain(self.manifest.version),
                    device_serial_number=self.manifest.digest[:16],
                    contribution_description="classification of images by a bundle of kdlight-edge",
                )
            ],
        }


def report(dataset: Dataset, predictions: Sequence[Prediction], author: Author, number: int) -> Dataset:
    """Return the structured report about an object; where not all of its frames were answered, it says so.

    Raises:
        DataError: the object has no identifier that the report could name it by.
        Exception: whatever highdicom makes of its other elements.
    """
    reference, bare = _reference(dataset)
    missing = frames_of(reference) - len(predictions)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid(author.manifest.digest),
        name=_plain(author.manifest.name),
        manufacturer_name=MAKER,
        model_name=MODEL_NAME,
        serial_number=author.manifest.digest[:16],
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(reference, prediction, author) for prediction in predictions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = sr.Comprehensive3DSR(
        evidence=[bare],
        content=content[0],
        series_instance_uid=author.series(reference.StudyInstanceUID, "SR"),
        series_number=SERIES["SR"],
        sop_instance_uid=_uid(),
        instance_number=number,
        is_complete=not missing,
        is_final=False,
        is_verified=False,
        **author.identity,
    )
    if missing:
        made.CompletionFlagDescription = f"{missing} of {frames_of(reference)} frames have no answer"
    return _finished(made, dataset, reference)


def _group(reference: Dataset, prediction: Prediction, author: Author) -> Any:
    """Return what is said of one frame: its decision, its labels with their probabilities, and who says it."""
    scan = prediction.scan or {}
    frames = [scan["frame"]] if frames_of(reference) > 1 else None
    said = [CAUTION, f"bundle digest {author.manifest.digest}", f"engine {author.engine} {author.precision}"]
    said += [prediction.reason] if prediction.reason else []
    said += list(scan.get("notes", ()))
    first = prediction.top[0][0]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(_uid(), f"frame {scan['frame']}"),
        algorithm_id=sr.AlgorithmIdentification(
            _plain(author.manifest.name), _plain(author.manifest.version), [_plain(line, 256) for line in said]
        ),
        measurements=[
            sr.Measurement(_label(author.manifest, label, "probability of "), round(value, 6), codes.UCUM.NoUnits)
            for label, value in prediction.top
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.DCM.Finding, _label(author.manifest, first)),
            sr.QualitativeEvaluation(
                sr.CodedConcept("decision", SCHEME, "Decision of the classifier"),
                sr.CodedConcept(prediction.decision, SCHEME, prediction.decision),
            ),
        ],
        source_images=[sr.SourceImageForMeasurementGroup(reference.SOPClassUID, reference.SOPInstanceUID, frames)],
    )


def capture(
    dataset: Dataset, picture: npt.NDArray[np.uint8], author: Author, number: int, *, frame: int = 1
) -> Dataset:
    """Return a picture, uint8 [h, w, 3] RGB with everything burned in, as a Secondary Capture of the object's study.

    ``frame`` tells of which frame it is, from 1. Raises as `report`.
    """
    reference, bare = _reference(dataset)
    made = highdicom.sc.SCImage.from_ref_dataset(
        bare,
        picture,
        "RGB",
        8,
        "PATIENT",
        series_instance_uid=author.series(reference.StudyInstanceUID, "SC"),
        series_number=SERIES["SC"],
        sop_instance_uid=_uid(),
        instance_number=number,
        patient_orientation=("L", "P"),  # must be given to highdicom; taken back below
        **author.identity,
    )
    made["PatientOrientation"].value = None  # nobody has looked which way the picture lies
    made.Laterality = ""  # nor which of a pair it shows: a series here holds both; it must be there (type 2C)
    made.BurnedInAnnotation = "YES"
    made.DerivationDescription = f"heat map of {_plain(author.manifest.name)}; {CAUTION}"
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = reference.SOPClassUID, reference.SOPInstanceUID
    if frames_of(reference) > 1:
        source.ReferencedFrameNumber = frame  # else it would be of all of them (PS3.3, 10.3)
    made.SourceImageSequence = [source]
    return _finished(made, dataset, reference)


def _finished(made: Any, dataset: Dataset, reference: Dataset) -> Dataset:
    """Give an answer what its object says of the patient and the study, letter by letter, odd things too."""
    made.copy_patient_and_study_information(reference)
    for keyword in _EMPTY_WHERE_MISSING:
        made[keyword] = reference[keyword]
    if "SpecificCharacterSet" in reference:
        made.SpecificCharacterSet = reference.SpecificCharacterSet
    for tag, content in getattr(dataset, "as_read", {}).items():
        if content and tag in made and made[tag].VR in _TEXTS and made[tag].value == reference[tag].value:
            made[tag] = DataElement(tag, made[tag].VR, content)
    _zoned(made, reference)
    answer: Dataset = made
    return answer


def _zoned(made: Any, reference: Dataset) -> None:
    """Tell all times in the zone that the object names: it is one for a whole answer, and the study's stand in it."""
    stated = str(reference.get("TimezoneOffsetFromUTC") or "").strip()
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", stated)
    if found is None or int(found[2]) > 14:  # noqa: PLR2004 - the furthest zone (PS3.3, C.12.1.1.8)
        return
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    now = datetime.now(timezone(-offset if found[1] == "-" else offset))
    made.TimezoneOffsetFromUTC = stated
    for name in _MADE:
        if (date := name.format("Date")) in made:
            setattr(made, date, f"{now:%Y%m%d}")
            setattr(made, name.format("Time"), f"{now:%H%M%S.%f}")
    for equipment in made.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = f"{now:%Y%m%d%H%M%S.%f}"


def _reference(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Return the object without its pixels and with what every object must have, and the same for highdicom.

    The second is empty where highdicom would refuse what others live with, as a birth date of 00000000.
    """
    reference, bare = Dataset(), Dataset()
    for element in dataset:
        if element.tag.group < 0x7FE0:  # noqa: PLR2004 - the group of the pixels
            reference.add(element)
    for keyword in _EMPTY_WHERE_MISSING:
        if keyword not in reference:
            setattr(reference, keyword, "")
    missing = [keyword for keyword in _NAMED_BY if not reference.get(keyword)]
    if missing:
        raise DataError(f"it has no {', '.join(missing)}")
    bare.update(reference)
    for keyword in _EMPTY_WHERE_MISSING:
        bare[keyword] = DataElement(keyword, reference[keyword].VR, "")  # a new one: elements are shared
    return reference, bare


def _label(manifest: Manifest, label: str, before: str = "") -> Any:
    """Return a label as a private code: its place among the logits, and its name for people."""
    place = next(i for i, known in enumerate(manifest.labels) if known.id == label)
    name = f"{'P' if before else 'L'}{place}"
    return sr.CodedConcept(name, SCHEME, _plain(before + manifest.labels[place].text))


def _uid(*sources: str) -> str:
    """Return a UID that anyone may make (PS3.5, B.2): of these texts, or of chance where there are none."""
    content = hashlib.sha256("\0".join(sources).encode()).digest() if sources else secrets.token_bytes(16)
    return f"2.25.{int.from_bytes(content[:16], 'big')}"


def _plain(text: str, room: int = 64) -> str:
    """Return text that every character set has and that fits into an element (PS3.5, 6.2: 64 characters)."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:room]
