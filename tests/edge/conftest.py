"""What tests of the TensorRT engine share: a bundle that prefers one, and a fake GPU for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.fake_tensorrt import Gpu, add_plan, give_gpu


@pytest.fixture
def trt_bundle(tiny_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that prefers a TensorRT engine, which it holds; the cache is empty."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    return add_plan(tiny_bundle())


@pytest.fixture
def gpu(trt_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU for that bundle."""
    return give_gpu(monkeypatch, trt_bundle)
