"""Temperature and thresholds for a file whose precision moved the logits, fitted on the held-out pictures."""

import numpy as np

from kdlight_edge.decide import softmax
from kdlight_edge.manifest import Thresholds
from kdlight_export.parity import LEAST_PICTURES, Parity
from kdlight_train.calibrate import OUTLIER_QUANTILE, fit_acceptance, fit_temperature


def refit(
    exact: Parity, rounded: Parity, truth: np.ndarray[tuple[int], np.dtype[np.int64]], temperature: float,
    known: Thresholds,
) -> tuple[float, Thresholds]:  # fmt: skip
    """Return the temperature and the thresholds of a file of lower precision.

    The student's were fitted on the whole validation set, of which the held-out pictures may be a part. So the
    temperature and the outlier limit are moved by the ratio of two fits on the same pictures, one of the float file and
    one of this: what is particular to the part cancels, and a file that answers as the student keeps its values. The
    acceptance threshold is fitted anew, because its promise about mistakes is about this file's answers; where so few
    pictures cannot prove it, the student's stays. Where the student has none, this file has none: rounding must not
    prove by luck what the student could not, and turn pictures away on one engine alone.

    Args:
        exact: comparison of the float file.
        rounded: comparison of this file.
        truth: class of each held-out picture, int64 [m].
        temperature: the student's.
        known: the student's.
    """
    if len(truth) < LEAST_PICTURES:
        return temperature, known
    own = temperature * fit_temperature(rounded.logits, truth) / fit_temperature(exact.logits, truth)
    accept = (fit_acceptance(softmax(rounded.logits, own), truth) or known.accept) if known.accept else 0.0
    if known.outlier is None:
        return own, Thresholds(accept)
    far, further = (float(np.quantile(found.outlier, OUTLIER_QUANTILE)) for found in (exact, rounded))
    return own, Thresholds(accept, known.outlier * further / far if far > 0 else known.outlier)
