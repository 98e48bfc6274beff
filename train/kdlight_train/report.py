"""What a training found out, written down twice: ``report.json`` for programs, ``report.html`` for people."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import KDLightError
from kdlight_train.calibrate import Acceptance

SCHEMA = "kdlight-edge/report/1"
PAGES = ("report.json", "report.html")
"""For programs and for people, in the order in which they are written."""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One network, teacher or student, and how well it does."""

    name: str
    parameters: int
    macs: int
    """Multiply-adds of one picture."""
    bytes_fp32: int
    """Size of the weights at four bytes each."""
    temperature: float
    """Divides the logits; fitted on the validation pictures."""
    ece_before: float
    """Expected calibration error at temperature 1."""
    ece_after: float
    val: Mapping[str, Any]
    """`kdlight_edge.metrics.figures` of the validation pictures."""
    test: Mapping[str, Any] | None
    """The same of the test pictures; None where there are none."""

    @property
    def judged(self) -> Mapping[str, Any]:
        """The figures to quote: those of the test where there is one."""
        return self.val if self.test is None else self.test


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """A picture that was answered wrongly."""

    image: npt.NDArray[np.uint8] = field(repr=False)
    """uint8 [h, w, 3], RGB."""
    truth: str
    """Id of the true class."""
    predicted: str
    """Id of the answered class."""
    probability: float
    """Of the answered class."""
    cam: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    """float [h', w'], class activation map of the answered class, of any scale."""
    name: str = ""
    """Of the picture, where it has one."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told about one training."""

    name: str
    made: str
    """UTC, ISO 8601."""
    labels: tuple[str, ...]
    data: Mapping[str, Any]
    """``counts`` (split to class to number), ``fingerprint``, ``audit`` (`Audit.to_json`)."""
    recipe: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    """One entry an epoch: epoch, loss, lr, val_accuracy, images_per_second; None, or no key, where not measured."""
    student: ModelResult
    teacher: ModelResult | None
    mistakes: tuple[Mistake, ...]
    environment: Mapping[str, Any]
    """Machine and versions."""
    seconds: float
    """How long the training took."""
    making_pictures: float | None = None
    """Share of the training that was in neither network but in augmented pictures; None where not measured."""
    difference: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`kdlight_train.beside.compare` of student and teacher, by split (``val``, ``test``)."""
    acceptance: Acceptance | None = None
    """Of the student's answers; None where no threshold was fitted."""


def worst_mistakes(
    probabilities: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    images: npt.NDArray[np.uint8],
    ids: Sequence[str],
    count: int = 12,
    *,
    cams: npt.NDArray[np.float32] | None = None,
    names: Sequence[str] = (),
) -> tuple[Mistake, ...]:
    """Pick the wrong answers that were given with the most confidence, the surest first.

    Args:
        probabilities: float [n, C].
        truth: int [n].
        images: uint8 [n, h, w, 3], RGB.
        ids: the C names of the classes.
        count: how many, at most.
        cams: float [n, C, h', w'], class activation maps.
        names: the n names of the pictures.
    """
    chosen = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(chosen != truth)
    surest = wrong[np.argsort(-probabilities[wrong, chosen[wrong]], kind="stable")][:count]
    return tuple(
        Mistake(
            image=images[place],
            truth=ids[int(truth[place])],
            predicted=ids[int(chosen[place])],
            probability=float(probabilities[place, chosen[place]]),
            cam=None if cams is None else cams[place, chosen[place]],
            name=names[place] if names else "",
        )
        for place in surest.tolist()
    )


def write_report(folder: Path, report: Report) -> None:
    """Write ``report.json`` and ``report.html`` into a folder that is there.

    The JSON holds no pixels. The page holds the pictures of ``mistakes``: who may not pass those on may not pass it on.

    Raises:
        KDLightError: a file cannot be written.
    """
    from kdlight_train.report_html import page

    texts = (json.dumps(to_json(report), indent=2, allow_nan=False) + "\n", page(report))
    for name, text in zip(PAGES, texts, strict=True):
        _write(folder / name, text)


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON types, without pixels; NaN and infinity become None."""
    record = {entry.name: getattr(report, entry.name) for entry in dataclasses.fields(report)}
    record["mistakes"] = [
        {"name": one.name, "truth": one.truth, "predicted": one.predicted, "probability": one.probability}
        for one in report.mistakes
    ]
    plain: dict[str, Any] = _plain({"schema": SCHEMA, **record})
    return plain


def _plain(value: Any) -> Any:
    """Bring dataclasses, NumPy scalars, paths and tuples down to what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _write(path: Path, text: str) -> None:
    """Write beside the target and rename, so that a full disk never leaves half a report under the name."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of pictures may be none
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise KDLightError(f"{path} cannot be written: {error.strerror}; make room or choose another --out") from error
