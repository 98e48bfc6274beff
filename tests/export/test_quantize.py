"""INT8 with explicit Q/DQ: what is 8-bit is what the plan of the graph says, and the answers stay."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kdlight_edge.errors import DataError
from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Input
from kdlight_edge.prepare import prepare_input
from kdlight_export.calibration import calibration_batch
from kdlight_export.onnx_from_student import onnx_from_student, rounded_to_8_bits
from kdlight_train.finished import Finished

LABELS = ("crack", "no_crack")
STEMS = {False: "float stem", True: "8-bit stem"}


@pytest.fixture(params=["nano", "small"])
def student(request: pytest.FixtureRequest, make_finished: Callable[..., Finished]) -> Finished:
    return make_finished(request.param)


@pytest.fixture
def content(student: Finished) -> bytes:
    return onnx_from_student(student, "test")


@pytest.fixture
def batch() -> npt.NDArray[np.uint8]:
    return np.stack([prepare_input(golden_picture(seed), Input(64, 64)) for seed in range(60, 72)])


def handed_on(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the feature maps that a layer hands to the next.

    A convolution and its ReLU are one layer; what no pooling or convolution follows is arithmetic on few numbers.
    """
    read = {name for node in graph.node if node.op_type in {"Conv", "Add", "GlobalAveragePool"} for name in node.input}
    made = {node.output[0] for node in graph.node if node.op_type in {"Conv", "Relu", "Add"}}
    return {name for name in read & made if name != "cam" and not name.startswith("outlier")}


def run(content: bytes, batch: npt.NDArray[np.uint8], *names: str) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    outputs: list[npt.NDArray[np.float32]] = session.run(names, {"image": batch})
    return outputs


@pytest.mark.parametrize("stem", STEMS, ids=STEMS.values())
def test_an_8_bit_network_answers_nearly_as_the_float_one(
    content: bytes, student: Finished, batch: npt.NDArray[np.uint8], make_eight: Callable[..., bytes], *, stem: bool
) -> None:
    eight = make_eight(student, batch, stem=stem)
    (exact, exact_cam), (rounded, cam) = (run(file, batch, "logits", "cam") for file in (content, eight))
    assert np.abs(rounded - exact).max() < 0.15 * np.ptp(exact)
    assert np.corrcoef(rounded.ravel(), exact.ravel())[0, 1] > 0.99
    assert cam.shape == exact_cam.shape
    np.testing.assert_allclose(cam.mean(axis=(2, 3)), rounded, atol=1e-4)


@pytest.mark.parametrize("stem", STEMS, ids=STEMS.values())
def test_every_convolution_is_8_bit_but_the_head_and_the_stem_where_it_is_float(
    student: Finished, batch: npt.NDArray[np.uint8], make_eight: Callable[..., bytes], *, stem: bool
) -> None:
    graph = onnx.load_from_string(make_eight(student, batch, stem=stem)).graph
    maker = {node.output[0]: node.op_type for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    float_ones = {node.output[0] for node in convolutions if maker.get(node.input[1]) != "DequantizeLinear"}
    arithmetic = {"cam", "outlier.found"}
    assert float_ones == (arithmetic if stem else {*arithmetic, "stem"})
    for node in convolutions:
        if node.output[0] not in {*arithmetic, "stem"}:
            assert maker[node.input[0]] == "DequantizeLinear"


def test_weights_are_symmetric_a_channel_and_cannot_overflow_16_bits_in_pairs(
    student: Finished, batch: npt.NDArray[np.uint8], make_eight: Callable[..., bytes]
) -> None:
    graph = onnx.load_from_string(make_eight(student, batch, stem=True)).graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    weights = {name.removesuffix(".q"): value for name, value in constants.items() if value.dtype == np.int8
               and name.endswith(".q")}  # fmt: skip
    assert weights
    for name, value in weights.items():
        assert constants[f"{name}.scale"].shape == (len(value),)
        assert not constants[f"{name}.zero"].any()
        assert 2 * 255 * np.abs(value.astype(int)).max() <= 32767
        assert name not in constants
    biases = [value for name, value in constants.items() if name.endswith(".bias")]
    assert {value.dtype for value in biases} == {np.dtype(np.float32)}


def test_a_picture_is_answered_alike_alone_and_in_a_batch(
    student: Finished, batch: npt.NDArray[np.uint8], make_eight: Callable[..., bytes]
) -> None:
    eight = make_eight(student, batch)
    (together,) = run(eight, batch, "logits")
    alone = np.concatenate([run(eight, batch[i : i + 1], "logits")[0] for i in range(3)])
    np.testing.assert_allclose(alone, together[:3], atol=1e-4)


def test_the_first_convolution_has_the_same_weights_in_float_and_in_8_bits(
    student: Finished, batch: npt.NDArray[np.uint8], make_eight: Callable[..., bytes]
) -> None:
    floats, eights = (
        {entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(content).graph.initializer}
        for content in (make_eight(student, batch, stem=False), make_eight(student, batch, stem=True))
    )
    scale = eights["stem.weight.scale"][:, None, None, None]
    np.testing.assert_allclose(floats["stem.weight"], eights["stem.weight.q"] * scale, rtol=1e-5, atol=1e-9)


def test_every_map_that_becomes_8_bit_has_a_range(
    student: Finished, content: bytes, batch: npt.NDArray[np.uint8]
) -> None:
    ranges = rounded_to_8_bits(student, batch).ranges
    assert set(ranges) == handed_on(onnx.load_from_string(content).graph)
    assert all(found.limit > 0 for found in ranges.values())


def test_a_run_without_calibration_pictures_is_told_so(run_folder: Path) -> None:
    (run_folder / "calibration.csv").unlink()
    with pytest.raises(DataError, match=r"calibration.csv names no picture that is still there"):
        calibration_batch(run_folder, LABELS, Input(64, 64), print)


def test_calibration_pictures_of_one_class_are_refused(run_folder: Path) -> None:
    table = run_folder / "calibration.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join(row for row in rows if not row.endswith("no_crack")) + "\n")
    with pytest.raises(
        DataError, match=r"calibration.csv holds no readable picture of no_crack; INT8 needs every class"
    ):
        calibration_batch(run_folder, LABELS, Input(64, 64), print)


def test_calibration_never_sees_the_held_out_pictures(run_folder: Path) -> None:
    (run_folder / "held_out.csv").unlink()
    assert calibration_batch(run_folder, LABELS, Input(64, 64), print).shape == (12, 64, 64, 3)


@pytest.fixture
def run_folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("run")
    return folder
