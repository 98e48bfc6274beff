"""Raspberry Pi: the CPU does the work, its GPU is ten times slower than its CPU for these networks."""

from kdlight_devices.board import Board, Budget

_ENGINES = ("onnxruntime",)
_PRECISIONS = ("int8", "fp32")
_CAMERA = "libcamera://0"
_BUNDLE = 2_500_000
"""Our ceiling: a `base` student in fp32 with its manifest; `paper` is for larger machines."""
_RSS = 150_000_000
"""Python, NumPy, OpenCV and ONNX Runtime with one small network; leaves a 512 MB board room to live."""

PI_ZERO_2_W = Board(
    name="pi-zero-2-w",
    text="Raspberry Pi Zero 2 W",
    target="rpi",
    engines=_ENGINES,
    precisions=_PRECISIONS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 20.0, 60.0,
        "derived, not measured: MobileNetV2 takes 147 ms there (ncnn README, 4 threads, 224 px)",
    ),
    # The chip alone is also the Pi 3's, which is a little faster.
    compatible=("raspberrypi,model-zero-2-w", "raspberrypi,model-zero-2", "brcm,bcm2710", "brcm,bcm2837"),
)  # fmt: skip

PI_4 = Board(
    name="pi-4",
    text="Raspberry Pi 4",
    target="rpi",
    engines=_ENGINES,
    precisions=_PRECISIONS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 8.0, 20.0,
        "derived, not measured: MobileNetV2 takes 44 to 62 ms there (XNNPACK and ncnn READMEs, 4 threads, 224 px)",
    ),
    compatible=(
        "raspberrypi,4-model-b", "raspberrypi,4-compute-module", "raspberrypi,400", "brcm,bcm2711",
    ),
)  # fmt: skip

PI_5 = Board(
    name="pi-5",
    text="Raspberry Pi 5",
    target="rpi",
    engines=_ENGINES,
    precisions=_PRECISIONS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 3.0, 8.0,
        "derived, not measured: MobileNetV2 takes 10.5 ms there (ncnn README, FP16, 4 threads, 224 px) "
        "and 15 to 45 ms in ONNX Runtime",
    ),
    compatible=(
        "raspberrypi,5-model-b", "raspberrypi,5-compute-module", "raspberrypi,500", "brcm,bcm2712",
    ),
)  # fmt: skip

BOARDS = (PI_ZERO_2_W, PI_4, PI_5)
