"""The IR answers as the ONNX file it was made from, runs 8-bit where that was asked for, and says what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from kdlight_edge.errors import BundleError
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Input, Label
from kdlight_edge.prepare import prepare_input
from kdlight_export.onnx_from_student import onnx_from_student
from kdlight_train.finished import Finished

openvino = pytest.importorskip("openvino", reason="openvino is not installed")
LABELS = (Label("crack", "Crack"), Label("no crack", "No crack"))


@pytest.fixture
def batch() -> npt.NDArray[np.uint8]:
    return np.stack([prepare_input(golden_picture(seed), Input(64, 64)) for seed in range(60, 68)])


@pytest.fixture
def content(make_finished: Callable[..., Finished]) -> bytes:
    return onnx_from_student(make_finished(), "test")


def ir(content: bytes, folder: Path) -> Path:
    from kdlight_export.openvino_from_onnx import openvino_from_onnx

    for name, part in openvino_from_onnx(content, "student", LABELS, Input(64, 64)).items():
        (folder / name).write_bytes(part)
    return folder / "student.xml"


def compiled(file: Path) -> Any:
    return openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_the_ir_answers_as_the_onnx_file(content: bytes, batch: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    found = compiled(ir(content, tmp_path))({"image": batch})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for name in ("logits", "cam", "outlier"):
        (wanted,) = session.run([name], {"image": batch})
        np.testing.assert_allclose(found[name], wanted, atol=0.02 * np.abs(wanted).max())


def test_float_weights_take_half_the_bytes(content: bytes, tmp_path: Path) -> None:
    assert ir(content, tmp_path).with_suffix(".bin").stat().st_size < 0.55 * len(content)


def test_an_8_bit_ir_is_executed_in_8_bits(
    content: bytes, batch: npt.NDArray[np.uint8], tmp_path: Path,
    make_finished: Callable[..., Finished], make_eight: Callable[..., bytes],
) -> None:  # fmt: skip
    file = ir(make_eight(make_finished(), batch, stem=True), tmp_path)
    kinds = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled(file).get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) in {"Convolution", "GroupConvolution"}
    ]
    assert kinds.count("u8") + kinds.count("i8") >= len(kinds) - 2, kinds
    assert file.with_suffix(".bin").stat().st_size < 0.35 * len(content)


def test_model_api_finds_its_keys(content: bytes, tmp_path: Path) -> None:
    model = openvino.Core().read_model(ir(content, tmp_path))
    keys = ("model_type", "labels", "output_raw_scores", "resize_type")
    said = {key: model.get_rt_info(["model_info", key]).astype(str) for key in keys}
    assert said["model_type"] == "Classification"
    assert said["labels"] == "crack no_crack"
    assert said["output_raw_scores"] == "True"
    assert said["resize_type"] == "standard"


def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not take student: ") as caught:
        ir(b"this is no network", tmp_path)
    assert "\n" not in str(caught.value)


def test_the_8_bit_ir_of_a_small_student_takes_less_than_400_kilobytes(
    make_finished: Callable[..., Finished], make_eight: Callable[..., bytes], tmp_path: Path
) -> None:
    pictures = np.stack([prepare_input(golden_picture(seed), Input(128, 128)) for seed in range(60, 64)])
    student = make_finished("small", side=128)
    file = ir(make_eight(student, pictures, stem=True), tmp_path)
    assert file.stat().st_size + file.with_suffix(".bin").stat().st_size < 400_000
    found = compiled(file)({"image": pictures})
    session = onnxruntime.InferenceSession(onnx_from_student(student, "x"), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["outlier"], {"image": pictures})
    np.testing.assert_allclose(found["outlier"], wanted, rtol=0.2)
