"""What a bundle says about itself: the schema of manifest.json as frozen dataclasses, read strictly."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdlight_edge.errors import BundleError, KDLightError
from kdlight_edge.strict import Reader

SCHEMA_VERSION = 1
READER = Reader("manifest", BundleError, "export the bundle again")


@dataclass(frozen=True, slots=True)
class Label:
    """One class the network can answer with; its place in the list is its index in the logits."""

    id: str
    """Machine name: the name of the class's folder."""
    text: str
    """Name for people."""
    positive: bool = False
    """Whether this is the class that matters (a crack, a disease)."""
    sensitivity_floor: float | None = None
    """Smallest recall of this class that an artifact may have, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Input:
    """How a picture becomes the network's input; the whole truth for ``prepare``."""

    width: int
    height: int
    colour: Literal["rgb", "grey"] = "rgb"
    """``grey`` removes colour (BT.601 luma) and repeats it over the three channels."""
    resize: Literal["squash", "fit", "crop"] = "squash"
    interpolation: Literal["reduce", "linear", "area"] = "reduce"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a probability becomes a decision; fitted per artifact on validation pictures."""

    accept: float
    """Smallest calibrated probability of the first label that is accepted; below it the decision is ``abstained``."""
    outlier: float | None = None
    """Largest ``outlier`` output of a picture like the training set; None where none was fitted."""
    answer: Mapping[str, float] = field(default_factory=dict)
    """Label to the calibrated probability from which it is the answer, accepted, even where another label is likelier:
    fitted so that a class that must not be missed reaches its ``sensitivity_floor``. Others need no entry."""


@dataclass(frozen=True, slots=True)
class Part:
    """A further file of an artifact, beside the one that the engine is given."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file that an engine runs, with what was measured about it."""

    file: str
    format: Literal["onnx", "openvino", "tensorrt"]
    precision: Literal["fp32", "fp16", "int8"]
    sha256: str
    bytes: int
    temperature: float
    """Divides the logits before the softmax (Guo et al., ICML 2017); fitted on validation pictures."""
    thresholds: Thresholds
    accuracy: float | None = None
    """On the held-out pictures, 0 to 1."""
    agreement: float | None = None
    """Share of held-out pictures with the same first label as the torch student, from encoded bytes on."""
    max_logit_difference: float | None = None
    """Largest |Δlogit| against the torch student over those pictures."""
    parts: tuple[Part, ...] = ()
    """Further files that the format needs: the weights of an OpenVINO IR."""
    usual: Mapping[str, float] = field(default_factory=dict)
    """Decision (``abstained``, ``outlier``) to its share of the held-out pictures, 0 to 1; empty: nobody counted."""

    @property
    def all_bytes(self) -> int:
        """Size of the file and its parts together."""
        return self.bytes + sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Golden:
    """Procedural pictures and the logits each artifact gave for them: nothing private is stored."""

    seeds: tuple[int, ...]
    tolerance: float
    """Largest |Δlogit| that still counts as the same answer."""
    logits: Mapping[str, tuple[tuple[float, ...], ...]]
    """Artifact file to logits [len(seeds)][labels]."""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    """Artifact file to its own tolerance where ``tolerance`` is too narrow: 8-bit sums are rounded more coarsely."""
    log_odds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Artifact file to log(p / (1 - p)), p what its temperature gives each first label; older bundles lack it."""

    def allowed(self, file: str) -> float:
        """Return the tolerance of an artifact's file."""
        return self.tolerances.get(file, self.tolerance)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the export measured about one file that it built, and whether the bundle got it."""

    file: str
    engine: str
    format: Literal["onnx", "openvino", "tensorrt"]
    precision: Literal["fp32", "fp16", "int8"]
    bytes: int
    kept: bool
    reason: str
    """Why it was kept or left out, for people."""
    accuracy: float | None = None
    """On the held-out pictures, 0 to 1."""
    recall: Mapping[str, float] = field(default_factory=dict)
    """Label to the share of its held-out pictures that were answered right, 0 to 1."""
    agreement: float | None = None
    """Share of pictures with the same first label as the torch student."""
    max_logit_difference: float | None = None
    p50_ms: float | None = None
    """Median time of one picture on one thread, milliseconds, all files in turn; the lowest of several series."""


@dataclass(frozen=True, slots=True)
class Trials:
    """How the export chose its files."""

    machine: str
    """Where the times were measured, for people."""
    pictures: int
    """Held-out pictures that accuracy and recall were measured on."""
    max_drop: float
    """Points of accuracy that a precision was allowed to lose; a class twice as many."""
    int8: Literal["auto", "on", "off"]
    files: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights come from."""

    teacher: str
    method: str
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    """Fingerprint and counts of the pictures; never their names."""
    metrics: Mapping[str, Any]
    """Figures of the test, with their intervals and the split they were measured on."""
    made: str
    """UTC date, ISO 8601."""
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Card:
    """What a person must know before using the bundle."""

    intended_use: str
    not_for: str
    data_terms: str
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Scans:
    """Which DICOM objects the bundle may be asked about; others are refused with a reason."""

    modalities: tuple[str, ...] = ()
    """Values of Modality (0008,0060), for instance ``DX``; empty for any."""
    body_parts: tuple[str, ...] = ()
    """Values of BodyPartExamined (0018,0015), for instance ``CHEST``; empty for any."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a board allows a bundle to cost."""

    p50_ms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of manifest.json."""

    schema_version: int
    name: str
    version: str
    student: str
    """Member of the student family, for people (for instance ``small``)."""
    parameters: int
    macs: int
    """Multiply-adds of one picture at the stated input size."""
    labels: tuple[Label, ...]
    input: Input
    artifacts: tuple[Artifact, ...]
    """In order of preference: the first whose engine is there answers."""
    golden: Golden
    provenance: Provenance
    card: Card
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    scans: Scans | None = None
    """None where nobody has said, so that any scan is answered."""
    trials: Trials | None = None
    """None for a bundle that was not made by ``export``."""
    digest: str = ""
    """SHA-256 over the canonical JSON of all other keys; catches an edited manifest."""


def digest_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a manifest's canonical JSON, its own ``digest`` left out."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as plain JSON types, sealed with its digest."""
    record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(manifest), allow_nan=False))
    record["digest"] = digest_of(record)
    return record


def from_json(record: Any) -> Manifest:
    """Read a manifest strictly: an unknown, missing or wrongly typed key is a `BundleError` that names the key."""
    if not isinstance(record, dict):
        raise BundleError(f"manifest.json holds {type(record).__name__} where an object should be; export it again")
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"manifest schema_version is {version!r}, this program reads {SCHEMA_VERSION}; "
            "export the bundle again or install the matching kdlight-edge"
        )
    manifest = READER.record(Manifest, record)
    if manifest.digest != digest_of(record):
        raise BundleError("manifest.json was changed after export (its digest differs); copy the bundle again")
    _check_meaning(manifest)
    return manifest


def check_scans(scans: Scans | None, what: str, error: type[KDLightError]) -> None:
    """Refuse codes that no scan can have: they are upper case and 16 characters at most (PS3.5, 6.2)."""
    for name, codes in dataclasses.asdict(scans).items() if scans is not None else ():
        for code in codes:
            if not re.fullmatch(r"[A-Z0-9_]([A-Z0-9_ ]{0,14}[A-Z0-9_])?", code):
                raise error(f"{what} key 'scans.{name}' holds {code!r}, which no scan has; write it as in CHEST or DX")


def _check_meaning(manifest: Manifest) -> None:
    """Refuse what is well-formed and cannot be true."""
    _check_names(manifest)
    ids = [label.id for label in manifest.labels]
    if len(ids) < 2 or len(set(ids)) != len(ids):  # noqa: PLR2004 - a classifier has two classes or more
        raise BundleError(f"manifest key 'labels' needs two or more different ids, got {ids}")
    if not manifest.artifacts:
        raise BundleError("manifest key 'artifacts' is empty; export the bundle again")
    if not (1 <= manifest.input.width <= 4096 and 1 <= manifest.input.height <= 4096):  # noqa: PLR2004 - bound of any student
        raise BundleError(f"manifest key 'input' has size {manifest.input.width}x{manifest.input.height}")
    check_scans(manifest.scans, "manifest", BundleError)
    seeds = manifest.golden.seeds
    if not seeds or min(seeds) < 0:
        raise BundleError(f"manifest key 'golden.seeds' needs one or more whole numbers from 0 on, got {list(seeds)}")
    for artifact in manifest.artifacts:
        if not artifact.temperature > 0:
            raise BundleError(f"manifest key 'temperature' of {artifact.file} is {artifact.temperature}, not above 0")
        _check_shares(artifact, ids)
        rows = manifest.golden.logits.get(artifact.file)
        if rows is None or len(rows) != len(seeds) or any(len(row) != len(ids) for row in rows):
            raise BundleError(f"manifest key 'golden.logits' does not cover {artifact.file}; export the bundle again")
        if len(manifest.golden.log_odds.get(artifact.file, seeds)) != len(seeds):
            raise BundleError(f"manifest key 'golden.log_odds' does not cover {artifact.file}; export the bundle again")


def _check_names(manifest: Manifest) -> None:
    for key in ("name", "version", "student"):
        if not (text := getattr(manifest, key)).isprintable():
            raise BundleError(f"manifest key {key!r} holds {text!r}, which cannot be shown; export the bundle again")
    for label in manifest.labels:
        READER.check_line(label.id + label.text, "labels")


def _check_shares(artifact: Artifact, ids: list[str]) -> None:
    for decision, share in artifact.usual.items():
        if decision not in {"abstained", "outlier"} or not 0 <= share <= 1:
            raise BundleError(f"manifest key 'usual' of {artifact.file} has {decision!r} at {share:g}")
    for label, least in artifact.thresholds.answer.items():
        if label not in ids or not 0 < least <= 1:
            raise BundleError(f"manifest key 'thresholds.answer' of {artifact.file} has {label!r} at {least:g}")
