"""The float ONNX file of a bundle back to the student that it was written from: the inverse of the export."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from kdlight_edge.errors import DataError
from kdlight_train.calibrate import OutlierModel
from kdlight_train.rounded import put
from kdlight_train.student import PIXEL_SCALE, ConvNorm, make_student


def weights_from_onnx(content: bytes, student: str, classes: int) -> tuple[dict[str, torch.Tensor], OutlierModel]:
    """Return the weights and the outlier model of a float ONNX file that the export wrote.

    Batch norms come back as the identity with a bias, which folds to the very same convolutions again.

    Raises:
        DataError: the file is not one of ours, or not this student's.
    """
    try:
        stored = onnx.load_from_string(content).graph.initializer
        constants = {one.name: numpy_helper.to_array(one).copy() for one in stored}
        network = make_student(student, classes).eval()
        _unfold(network.stem, constants, "stem", 1 / PIXEL_SCALE)
        for number, layer in enumerate(network.dense):
            _unfold(layer, constants, f"dense{number}")
        for number, block in enumerate(network.deep):
            for part in ("widen", "filter", "narrow"):
                _unfold(block.get_submodule(part), constants, f"deep{number}.{part}")
        _unfold(network.last, constants, "last")
        weight, bias = constants["head.weight"][:, :, 0, 0], constants["head.bias"]
        network.head.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
        size, basis = constants["outlier.mean"].size, constants["outlier.basis"]
        # Older bundles hold it as the right side of a matrix product, later ones as a convolution.
        basis = basis.T if basis.ndim == 2 else basis.reshape(-1, size)  # noqa: PLR2004 - a matrix
        planes = constants["outlier.plane"].reshape(-1, size) if "outlier.plane" in constants else None
        model = OutlierModel(
            constants["outlier.mean"].reshape(size), np.ascontiguousarray(basis),
            constants["outlier.scale"], constants["outlier.centres"], constants["outlier.residual"].item(),
            planes, None if planes is None else constants["outlier.offset"],
        )  # fmt: skip
    except (KeyError, RuntimeError, ValueError, DecodeError) as error:
        raise DataError(f"the bundle's float ONNX file is not one of this program's '{student}' ({error})") from error
    return network.state_dict(), model


def _unfold(
    layer: torch.nn.Module, constants: Mapping[str, npt.NDArray[np.float32]], name: str, scale: float = 1.0
) -> None:
    assert isinstance(layer, ConvNorm)  # noqa: S101 - narrows the type of a Sequential's member
    weight = torch.tensor(constants[f"{name}.weight"].astype(np.float64) * scale, dtype=torch.float32)
    put(layer, weight, torch.tensor(constants[f"{name}.bias"]))
