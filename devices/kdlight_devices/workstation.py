"""Computers without a device tree: x86 with and without the VNNI instructions, and everything else."""

from kdlight_devices.board import Board, Budget

_CAMERA = "/dev/video0"
_BUNDLE = 8_000_000
"""Our ceiling: a `paper` student in fp32 with its manifest."""
_RSS = 150_000_000
"""Python, NumPy, OpenCV and ONNX Runtime with one small network."""
_SIZES = "our own ceilings: a paper student in fp32; the runtime and one small network"
_TAIL = "our own gate: three times the median, for a computer that does other work too"
_WATTS = "nothing is asked: computers with such processors draw from 6 to several hundred watts"

VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})
"""Names in /proc/cpuinfo of the instructions that multiply 8-bit numbers four times as fast as 32-bit ones."""

X86_VNNI = Board(
    name="x86-vnni",
    text="x86-64 computer with VNNI",
    target="cpu",
    engines=("openvino", "onnxruntime"),
    precisions=("int8", "fp32"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 0.4, 1.0,
        "derived, not measured: MobileNetV2 takes 1 to 3 ms there (OpenVINO, INT8, 1 to 4 threads, 224 px)",
        1.2, 3.0, _TAIL, _SIZES,
        None, _WATTS,
    ),
    compatible=(),
)  # fmt: skip

X86 = Board(
    name="x86",
    text="x86-64 computer",
    target="cpu",
    engines=("openvino", "onnxruntime"),
    # Without VNNI, 8-bit arithmetic gains little, and must first be measured faster.
    precisions=("fp32", "int8"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 3.0, 8.0,
        "derived, not measured: MobileNetV2 takes 22 ms on a Celeron N5105 (ncnn README, 4 threads, 224 px)",
        9.0, 24.0, _TAIL, _SIZES,
        None, _WATTS,
    ),
    compatible=(),
)  # fmt: skip

OTHER = Board(
    name="other",
    text="a computer this program has no figures for",
    target="cpu",
    engines=("onnxruntime",),
    precisions=("fp32", "int8"),
    threads=1,
    camera=_CAMERA,
    budget=None,
    compatible=(),
)

BOARDS = (X86_VNNI, X86, OTHER)
