"""Engines that TensorRT built of a bundle stay as long as the bundle may serve, and go with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.bundle import open_bundle
from kdlight_edge.engines.tensorrt_plan import BuildPlan, Profile, cached_engine, write_whole
from kdlight_edge.passport import Here
from kdlight_edge.update import ledger
from kdlight_edge.update.state import State

HERE = Here("Orin", "8.7", "tensorrt", "10.3.0", "12.6", "12.6")


def keep_engine(model: Path) -> Path:
    """Keep an engine where this machine would keep the one that it built of a bundle."""
    [artifact] = open_bundle(model).manifest.artifacts
    plan = BuildPlan(1, artifact.file, artifact.sha256, "fp16", "student.fp16", 32, 32, Profile(1, 1, 8), 1 << 28, ())
    file = cached_engine(plan, HERE)
    write_whole(file, b"an engine")
    write_whole(file.with_name(f"{file.name}.passport.json"), b"{}")
    return file


def test_engines_go_with_the_last_version_they_were_built_of(
    tiny_bundle: Callable[..., Path], state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", str(state.folder))
    state.prepare()
    state.prune()  # nothing was built yet
    sizes = iter(range(16, 64, 8))  # each has a network of its own
    factory = tiny_bundle(size=next(sizes), folder=tmp_path)
    state.tell_running({"factory": str(factory)})
    built = {"factory": keep_engine(factory)}
    for number in ("1", "2", "3"):
        name = f"tiny-{number}-0"
        tiny_bundle(size=next(sizes), folder=tmp_path / number).rename(state.path(name))
        built[number] = keep_engine(state.path(name))
        state.switch(name)
        state.change(lambda old, name=name: ledger.proved(old, name))  # type: ignore[misc]
    tiny_bundle(size=next(sizes), name="bundle", folder=state.incoming)
    built["tried"] = keep_engine(state.incoming / "bundle.kdl")
    timings = state.folder / "cache/timing.cache"
    timings.write_bytes(b"")
    state.prune()
    assert {name for name, file in built.items() if file.exists()} == {"factory", "2", "3", "tried"}
    assert not built["1"].parent.exists()
    assert timings.exists()


def test_engines_in_a_cache_that_other_bundles_share_stay(
    tiny_bundle: Callable[..., Path], state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CACHE_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state.prepare()
    engine = keep_engine(tiny_bundle())
    state.prune()
    assert engine.exists()
