"""Raspberry Pi: the CPU does the work, its GPU is ten times slower than its CPU for these networks."""

from kdlight_devices.board import Board, Budget

_ENGINES = ("onnxruntime",)
_PRECISIONS = ("int8", "fp32")
_CAMERA = "libcamera://0"
_BUNDLE = 2_000_000
"""Our ceiling: a `small` student in INT8 with its float fallback; larger students are for larger machines."""
_RSS = 150_000_000
"""Python, NumPy, OpenCV and ONNX Runtime with one small network; leaves a 512 MB board room to live."""
_SIZES = "our own ceilings: a small student in INT8 and fp32; runtime and one network, leaving a 512 MB board its room"
_TAIL = "our own gate: twice the median, for a board that does nothing else"
_THREADS = 1
"""As measured on a computer: a second thread costs a network this small more than it brings; measure with ``bench``."""

PI_ZERO_2_W = Board(
    name="pi-zero-2-w",
    text="Raspberry Pi Zero 2 W",
    target="rpi",
    engines=_ENGINES,
    precisions=_PRECISIONS,
    threads=_THREADS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 20.0, 60.0,
        "derived, not measured: MobileNetV2 takes 147 ms there (ncnn README, 4 threads, 224 px)",
        40.0, 120.0, _TAIL, _SIZES,
        3.0, "our own ceiling, not measured: a small power bank carries it",
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
    threads=_THREADS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 8.0, 20.0,
        "derived, not measured: MobileNetV2 takes 44 to 62 ms there (XNNPACK and ncnn READMEs, 4 threads, 224 px)",
        16.0, 40.0, _TAIL, _SIZES,
        6.0, "remembered, not measured: about 2.7 W idle and 6 W with four cores at work",
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
    threads=_THREADS,
    camera=_CAMERA,
    budget=Budget(
        _BUNDLE, _RSS, 3.0, 8.0,
        "derived, not measured: MobileNetV2 takes 10.5 ms there (ncnn README, FP16, 4 threads, 224 px) "
        "and 15 to 45 ms in ONNX Runtime",
        6.0, 16.0, _TAIL, _SIZES,
        8.0, "remembered, not measured: 2.7 to 3.5 W idle and 6 to 8 W with four cores at work",
    ),
    compatible=(
        "raspberrypi,5-model-b", "raspberrypi,5-compute-module", "raspberrypi,500", "brcm,bcm2712",
    ),
)  # fmt: skip

BOARDS = (PI_ZERO_2_W, PI_4, PI_5)
