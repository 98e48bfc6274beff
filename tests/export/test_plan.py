"""The plan of an export names what the boards of its target compute in, and nothing else."""

import pytest

from kdlight_export.plan import Int8, Kind, make_plan

EXACT: Kind = ("onnx", "fp32")
EIGHT: Kind = ("onnx", "int8")
HALF: Kind = ("tensorrt", "fp16")


@pytest.mark.parametrize(
    ("int8", "formats"), [("on", (EXACT, EIGHT, HALF)), ("auto", (EXACT, HALF)), ("off", (EXACT, HALF))]
)
def test_a_gpu_without_8_bit_arithmetic_is_given_none(int8: Int8, formats: tuple[Kind, ...]) -> None:
    plan = make_plan("jetson-nano", int8=int8)
    assert plan.formats == formats
    told = [line for line in plan.reasons if line.startswith("tensorrt int8")]
    left_out = "tensorrt int8: left out, the GPU of jetson-nano has no 8-bit arithmetic"
    assert told == ([] if int8 == "off" else [left_out])


@pytest.mark.parametrize("target", ["jetson", "orin-nano"])
def test_a_gpu_with_8_bit_arithmetic_is_given_them_where_they_are_asked_for(target: str) -> None:
    assert ("tensorrt", "int8") in make_plan(target, int8="on").formats
    plan = make_plan(target)
    assert ("tensorrt", "int8") not in plan.formats
    assert any("--int8 on builds it" in line for line in plan.reasons)


def test_an_engine_for_another_gpu_may_be_8_bit() -> None:
    plan = make_plan("jetson-nano", int8="on", compute_capabilities=("8.6",))
    assert ("tensorrt", "int8") in plan.formats
