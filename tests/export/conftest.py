"""A finished student with weights that are random and batch norms that are not trivial, as if trained, in a moment."""

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from kdlight_edge.golden import golden_picture
from kdlight_edge.manifest import Input
from kdlight_export.onnx_from_student import rounded_onnx, rounded_to_8_bits
from kdlight_export.quantize import quantize
from kdlight_train import finished
from kdlight_train.calibrate import fit_outlier
from kdlight_train.finished import Finished
from kdlight_train.kept import CALIBRATION, HELD_OUT
from kdlight_train.student import STUDENTS, make_student

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_finished() -> Callable[..., Finished]:
    """Return ``make(name, labels, side) -> Finished``."""
    return _make_finished


def _make_finished(name: str = "nano", labels: tuple[str, ...] = ("crack", "no_crack"), side: int = 64) -> Finished:
    """Return a student whose statistics and logits are spread as a trained one's are."""
    torch.manual_seed(7)
    network = make_student(name, len(labels))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    network.head.weight.data.normal_(0, 1)
    features = np.random.default_rng(1).normal(0.3, 0.2, (60, STUDENTS[name].feature)).astype(np.float32)
    model = fit_outlier(features, np.arange(60) % len(labels), len(labels))
    counts = {"train": dict.fromkeys(labels, 30), "val": dict.fromkeys(labels, 6)}
    provenance = {
        "teacher": "mobilenet_v2", "method": "kl", "recipe": {"seed": 0}, "made": "2026-01-01T00:00:00+00:00",
        "data": {"fingerprint": "0" * 64, "counts": counts}, "metrics": {},
        "versions": {"torch": str(torch.__version__)},
    }  # fmt: skip
    state = {key: value.clone() for key, value in network.state_dict().items()}
    return Finished(name, labels, Input(side, side), state, model, 1.4, 0.6, 2.5, provenance)


@pytest.fixture(scope="session")
def make_eight() -> Callable[..., bytes]:
    """Return ``make(student, pictures uint8 [n, H, W, 3], stem=, symmetric=) -> bytes``, the Q/DQ file."""
    return _make_eight


def _make_eight(
    student: Finished, pictures: npt.NDArray[np.uint8], *, stem: bool = False, symmetric: bool = False
) -> bytes:
    eight = rounded_to_8_bits(student, pictures)
    content, scales = rounded_onnx(student, eight, "test")
    return quantize(content, eight.ranges, scales, stem=stem, symmetric=symmetric)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return RUN of a finished training with a dozen held-out pictures and a dozen to calibrate on."""
    folder = tmp_path / "run"
    folder.mkdir()
    finished.save(folder, _make_finished())
    for name, seeds in ((HELD_OUT, range(20, 32)), (CALIBRATION, range(40, 52))):
        with (folder / name).open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["file", "label"])
            for seed in seeds:
                file = tmp_path / f"{seed}.jpg"
                cv2.imwrite(str(file), golden_picture(seed))
                table.writerow([file, "crack" if seed % 2 else "no_crack"])
    return folder
