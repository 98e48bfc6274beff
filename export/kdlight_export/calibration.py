"""What 8 bits must span: the range of every tensor of a network, seen on the training's own pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_edge.picture import decode
from kdlight_edge.prepare import prepare_input
from kdlight_export.run_pictures import CALIBRATION, run_pictures

BINS = 2048
"""Of a tensor's histogram: eight a step of an 8-bit number."""

CUTS = 64
"""Clipping points tried, evenly from a quarter of the largest value to the whole."""

BATCH = 16
"""Pictures a pass: every map of a `paper` student at 224 px for so many is below a gigabyte."""


@dataclass(frozen=True, slots=True)
class Range:
    """What one tensor's 8-bit numbers span."""

    limit: float
    """Largest magnitude that is kept; what lies beyond is clipped."""
    signed: bool
    """Whether values below zero were seen."""


def calibration_batch(run: Path, labels: tuple[str, ...], spec: Input) -> npt.NDArray[np.uint8]:
    """Return the training's calibration pictures as the network sees them, uint8 [n, H, W, 3].

    Raises:
        DataError: there are none, or they are all of one class: ranges seen on them would clip the others.
    """
    pictures = run_pictures(run, CALIBRATION, labels)
    if not pictures:
        raise DataError(f"the run's {CALIBRATION} names no picture that is still there; INT8 is calibrated on them")
    if len({label for _, label in pictures}) == 1:
        raise DataError(
            f"the run's {CALIBRATION} holds pictures of {labels[pictures[0][1]]} only; INT8 needs every class"
        )
    return np.stack([prepare_input(decode(content), spec) for content, _ in pictures])


def ranges_of(content: bytes, tensors: Sequence[str], batch: npt.NDArray[np.uint8]) -> Mapping[str, Range]:
    """Run a float network over the pictures and return the range of each of its named tensors.

    The limit is the clipping point with the smallest mean square error of rounding and clipping together, on a
    histogram of magnitudes.

    Args:
        content: an ONNX file with the input ``image``.
        tensors: names inside it.
        batch: uint8 [n, H, W, 3].
    """
    model = onnx.load_from_string(content)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [batch[start : start + BATCH] for start in range(0, len(batch), BATCH)]
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for part in parts:
        values = session.run(tensors, {"image": part})
        low = np.minimum(low, [value.min() for value in values])
        high = np.maximum(high, [value.max() for value in values])
    peaks = np.maximum(np.maximum(-low, high), 1e-6)
    counts = np.zeros((len(tensors), BINS))
    for part in parts:
        values = session.run(tensors, {"image": part})
        counts += [np.histogram(np.abs(value), BINS, (0, peak))[0] for value, peak in zip(values, peaks, strict=True)]
    signed = low < 0
    return {
        name: Range(float(_limit(row, peak, 127 if below else 255)), bool(below))
        for name, row, peak, below in zip(tensors, counts, peaks, signed, strict=True)
    }


def _limit(counts: npt.NDArray[np.float64], peak: float, steps: int) -> float:
    """Return the clipping point with the smallest mean square error when magnitudes get ``steps`` steps."""
    centres = (np.arange(BINS) + 0.5) * peak / BINS
    cuts: npt.NDArray[Any] = np.linspace(0.25, 1, CUTS) * peak
    errors = [
        (counts * (np.minimum(np.round(centres / (cut / steps)), steps) * (cut / steps) - centres) ** 2).sum()
        for cut in cuts
    ]
    return float(cuts[int(np.argmin(errors))])
