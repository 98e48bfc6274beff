"""A trained student as the file RUN/student.pt: weights, labels, input rules and what was fitted on validation."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_train import checkpoint
from kdlight_train.calibrate import OutlierModel
from kdlight_train.student import Student, make_student

FILE = "student.pt"
CLAIM = "run.json"
"""What a training writes first."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything that the export needs to know."""

    student: str
    """Member of the family."""
    labels: tuple[str, ...]
    input: Input
    weights: dict[str, torch.Tensor]
    outlier: OutlierModel
    temperature: float
    accept: float
    outlier_limit: float
    provenance: dict[str, Any]
    """Plain types: teacher, method, recipe, data, metrics, made, versions."""

    def network(self) -> Student:
        """Return the student with its weights, in evaluation mode, on the CPU."""
        network = make_student(self.student, len(self.labels))
        network.load_state_dict(self.weights)
        return network.eval()


def save(run: Path, finished: Finished) -> None:
    """Write RUN/student.pt whole or not at all."""
    record = {entry.name: getattr(finished, entry.name) for entry in dataclasses.fields(finished)}
    record["labels"] = list(finished.labels)
    record["input"] = dataclasses.asdict(finished.input)
    model = {entry.name: getattr(finished.outlier, entry.name) for entry in dataclasses.fields(finished.outlier)}
    record["outlier"] = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in model.items()
        if value is not None
    }
    checkpoint.save(run / FILE, record)


def require(run: Path) -> None:
    """See that RUN holds a finished student.

    Raises:
        DataError: there is nothing, something else, or a training that has not ended.
    """
    if (run / FILE).is_file():
        return
    if not run.exists():
        raise DataError(f"there is nothing at {run}; give the --out of a training, or a bundle")
    if not (run / CLAIM).is_file():
        raise DataError(f"{run} is no run and no bundle; give the --out of a training, or a bundle")
    raise DataError(f"{run} holds no {FILE}: the training has not ended; finish it with train --resume")


def load(run: Path) -> Finished:
    """Read RUN/student.pt.

    Raises:
        DataError: it is not there, damaged, or from another version.
    """
    require(run)
    record = checkpoint.load(run / FILE) or {}
    try:
        model = {key: _array(value) for key, value in record.pop("outlier").items()}
        return Finished(
            **{
                **record,
                "labels": tuple(record["labels"]),
                "input": Input(**record["input"]),
                "outlier": OutlierModel(**model),
            }
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{run / FILE} was made by another version ({error}); train it again") from error


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else float(value)
