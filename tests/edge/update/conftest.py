"""What the tests of updates share: bundles of several versions, keys, a repository, a device's state."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_devices.workstation import OTHER
from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.signature import make_key
from kdlight_edge.update.apply import Order, apply
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Path], tmp_path: Path) -> Bundles:
    """Return ``make(version, *, name, **changes) -> Path``: a tiny bundle of a version, its manifest changed."""

    def make(version: str, *, name: str = "tiny", **changes: object) -> Path:
        path = tiny_bundle(name=name, folder=tmp_path / "made" / version)
        made = open_bundle(path)
        files = {artifact.file: made.file_of(artifact).read_bytes() for artifact in made.manifest.artifacts}
        manifest = dataclasses.replace(made.manifest, version=version, **changes)  # type: ignore[arg-type]
        return write_bundle(path, manifest, files).path

    return make


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a folder with a pair of keys named ``field``."""
    make_key("field", tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """Return an empty repository."""
    made = Publisher(tmp_path / "repository", tmp_path / "private")
    made.create()
    return made


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Return a device's state folder, not made yet."""
    return State(tmp_path / "state")


@pytest.fixture
def update(publisher: Publisher, state: State, tmp_path: Path) -> Callable[..., str | None]:
    """Return ``update(**of_the_order) -> version`` from the repository, on a board without a budget."""

    def take(**changes: object) -> str | None:
        root = publisher.metadata / "1.root.json"
        wanted = Order(str(root.parent.parent), tmp_path / "keys", root, board=OTHER)
        return apply(state, dataclasses.replace(wanted, **changes), print)  # type: ignore[arg-type]

    return take
