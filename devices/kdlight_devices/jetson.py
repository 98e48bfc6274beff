"""NVIDIA Jetson: one module, one board; the carrier does not matter to a classifier."""

from kdlight_devices.board import Board, Budget

_CAMERA = "csi://0"
_BUNDLE = 16_000_000
"""Our ceiling: ONNX and engine of a `paper` student side by side."""
_RSS = 1_000_000_000
"""Our ceiling for a process that loads CUDA and TensorRT, which take most of it: a quarter of a Nano's memory."""
_SIZES = "our own ceilings: ONNX and engine of a paper student side by side; a process with CUDA and TensorRT loaded"
_TAIL = "our own gate: twice the median, at clocks that jetson_clocks holds"

JETSON_NANO = Board(
    name="jetson-nano",
    text="NVIDIA Jetson Nano",
    target="jetson",
    engines=("tensorrt", "onnxruntime"),
    # Its Maxwell GPU has fast FP16 and no INT8 arithmetic.
    precisions=("fp16", "fp32"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 3.0, 6.0,
        "derived, not measured: a third of MobileNetV2's 17.7 ms (TensorRT FP16, 224 px); half of it at 128 px",
        6.0, 12.0, _TAIL, _SIZES,
        10.0, "its larger power mode (nvpmodel MAXN, 10 W), which the module holds by itself",
    ),
    compatible=("nvidia,jetson-nano", "nvidia,p3450-0000", "nvidia,p3450-0002", "nvidia,tegra210"),
)  # fmt: skip

ORIN_NANO = Board(
    name="orin-nano",
    text="NVIDIA Jetson Orin Nano",
    target="jetson",
    engines=("tensorrt", "onnxruntime"),
    precisions=("fp16", "int8", "fp32"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 0.6, 1.0,
        "derived, not measured: below the 1.34 ms published for MobileNetV3-Small (TensorRT, 224 px, JetPack 6)",
        1.2, 2.0, _TAIL, _SIZES,
        15.0, "its power mode of 15 W (nvpmodel), which the module holds by itself",
    ),
    # The chip alone means an unknown carrier or module: judged as the slowest Orin.
    compatible=("nvidia,p3767-0003", "nvidia,p3767-0004", "nvidia,p3767-0005", "nvidia,tegra234"),
)  # fmt: skip

ORIN_NX = Board(
    name="orin-nx",
    text="NVIDIA Jetson Orin NX",
    target="jetson",
    engines=("tensorrt", "onnxruntime"),
    precisions=("fp16", "int8", "fp32"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 0.5, 0.8, "derived, not measured: between the budgets of Orin Nano and AGX Orin",
        1.0, 1.6, _TAIL, _SIZES, 25.0, "its power mode of 25 W (nvpmodel), which the module holds by itself",
    ),
    compatible=("nvidia,p3767-0000", "nvidia,p3767-0001"),
)  # fmt: skip

AGX_ORIN = Board(
    name="agx-orin",
    text="NVIDIA Jetson AGX Orin",
    target="jetson",
    engines=("tensorrt", "onnxruntime"),
    precisions=("fp16", "int8", "fp32"),
    threads=1,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 0.3, 0.5,
        "derived, not measured: below the 0.59 ms published for MobileNetV3-Small (TensorRT, 224 px, JetPack 6)",
        0.6, 1.0, _TAIL, _SIZES,
        30.0, "its power mode of 30 W (nvpmodel), which the module holds by itself",
    ),
    compatible=("nvidia,p3701-0000", "nvidia,p3701-0004", "nvidia,p3701-0005", "nvidia,p3701-0008"),
)  # fmt: skip

BOARDS = (JETSON_NANO, ORIN_NANO, ORIN_NX, AGX_ORIN)
