"""What tests of the runtime share: pictures, a broker, bundles (one for TensorRT on a fake GPU), a service manager."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlight_edge.classifier import Classifier, open_classifier
from tests.edge.encoded import png
from tests.edge.fake_tensorrt import Gpu, add_plan, give_gpu
from tests.edge.mosquitto import Broker
from tests.edge.notified import Manager


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with four pictures of each class of a tiny bundle."""
    for i in range(4):
        png(tmp_path / f"in/crack/{i}.png", (220, 0, 0))
        png(tmp_path / f"in/no_crack/{i}.png", (0, 220, 0))
    return tmp_path / "in"


@pytest.fixture
def classifier(tiny_bundle: Callable[..., Path]) -> Iterator[Classifier]:
    """A tiny bundle, open."""
    with open_classifier(tiny_bundle(), threads=1) as opened:
        yield opened


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker to which everybody may speak, and which holds what waits for those who are away."""
    with Broker(tmp_path, "allow_anonymous true\nmax_queued_messages 0\n") as made:
        yield made


@pytest.fixture
def trt_bundle(tiny_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that prefers a TensorRT engine, which it holds; the cache is empty."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    return add_plan(tiny_bundle())


@pytest.fixture
def gpu(trt_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU for that bundle."""
    return give_gpu(monkeypatch, trt_bundle)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that hears what it is told."""
    hearing = Manager(str(tmp_path / "notify"))
    yield hearing
    hearing.close()
