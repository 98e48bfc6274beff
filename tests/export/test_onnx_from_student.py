"""The ONNX file answers as the torch student does, in all three outputs, and says what it is."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from kdlight_export.onnx_from_student import costs, onnx_from_student, reference
from kdlight_train.finished import Finished
from kdlight_train.student import STUDENTS

Answer = Callable[[Finished], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@pytest.fixture(params=STUDENTS)
def student(request: pytest.FixtureRequest, make_finished: Callable[..., Finished]) -> Finished:
    return make_finished(request.param, ("a", "b", "c"))


@pytest.fixture
def batch() -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2))


def answer(student: Finished, batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(onnx_from_student(student, "test"), providers=["CPUExecutionProvider"])
    outputs: list[npt.NDArray[np.float32]] = session.run(["logits", "cam", "outlier"], {"image": batch})
    return outputs


def test_logits_are_the_torch_students(student: Finished, batch: npt.NDArray[np.uint8]) -> None:
    wanted = reference(student)(batch)
    assert np.ptp(wanted) > 0.5, "a student that answers all alike proves nothing"
    np.testing.assert_allclose(answer(student, batch)[0], wanted, atol=1e-3)


def test_the_mean_of_the_activation_map_is_the_logit(student: Finished, batch: npt.NDArray[np.uint8]) -> None:
    logits, cam, _ = answer(student, batch)
    assert cam.shape == (5, 3, 2, 2)
    np.testing.assert_allclose(cam.mean(axis=(2, 3)), logits, atol=1e-4)


@pytest.mark.parametrize("shown", [False, True])
def test_the_outlier_output_is_the_fitted_distance(
    student: Finished, batch: npt.NDArray[np.uint8], *, shown: bool
) -> None:
    if shown:  # pictures of other things
        planes = np.random.default_rng(3).normal(0, 3, (4, student.outlier.mean.size)).astype(np.float32)
        offsets = np.linspace(-1, 2, 4, dtype=np.float32)
        model = dataclasses.replace(student.outlier, planes=planes, offsets=offsets)
        student = dataclasses.replace(student, outlier=model)
    with torch.inference_mode():
        x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        features = student.network().features(x).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(answer(student, batch)[2], student.outlier.distance(features), rtol=1e-2)


def test_the_graph_begins_with_a_cast_and_has_no_batch_norm_left(student: Finished) -> None:
    graph = onnx.load_from_string(onnx_from_student(student, "test")).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds[:3] == ["Cast", "Transpose", "Conv"]
    assert "BatchNormalization" not in kinds
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_the_file_names_its_classes_and_its_size(make_finished: Callable[..., Finished]) -> None:
    model = onnx.load_from_string(onnx_from_student(make_finished(side=96), "wall"))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["names"] == "{0: 'crack', 1: 'no_crack'}"
    assert facts["imgsz"] == "[96, 96]"
    assert model.graph.name == "wall"
    assert model.opset_import[0].version == 17


def test_the_stated_parameters_are_those_in_the_file(student: Finished) -> None:
    graph = onnx.load_from_string(onnx_from_student(student, "test")).graph
    held = sum(int(np.prod(entry.dims)) for entry in graph.initializer if not entry.name.startswith("outlier."))
    assert held == costs(student)[0]
