"""The pictures that 8 bits are calibrated on: some of the training's own, as the runtime prepares them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdlight_edge.errors import DataError
from kdlight_edge.manifest import Input
from kdlight_export.run_pictures import Say, run_pictures
from kdlight_train.kept import CALIBRATION


def calibration_batch(run: Path, labels: tuple[str, ...], spec: Input, say: Say) -> npt.NDArray[np.uint8]:
    """Return the training's calibration pictures as the network sees them, uint8 [n, H, W, 3].

    What of them can no longer be read is said and left out.

    Raises:
        DataError: there are none, or none of a class: ranges seen on the others would clip it.
    """
    pictures = run_pictures(run, CALIBRATION, labels, spec, say)
    if not pictures:
        raise DataError(f"the run's {CALIBRATION} names no picture that is still there; INT8 is calibrated on them")
    lacking = set(range(len(labels))) - {label for _, label in pictures}
    if lacking:
        raise DataError(
            f"the run's {CALIBRATION} holds no readable picture of {labels[min(lacking)]}; INT8 needs every class"
        )
    return np.stack([picture for picture, _ in pictures])
