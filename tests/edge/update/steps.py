"""What happens to a device in the tests of updates: it is offered a version, starts with it, and proves it."""

from collections.abc import Callable
from pathlib import Path

from kdlight_edge.classifier import open_classifier
from kdlight_edge.update import ledger
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.serving import open_serving
from kdlight_edge.update.state import State


def serve(state: State, factory: Path | None = None) -> str | None:
    """Start as the service does, and return the version that it opened."""
    classifier, version = open_serving(state, None if factory is None else str(factory), open_classifier, print)
    with classifier:
        return version


def prove(state: State) -> str:
    """Prove the version that serves, and return it."""
    version = state.current() or ""
    state.change(lambda old: ledger.proved(old, version))
    state.prune()
    return version


def take(publisher: Publisher, model: Path, update: Callable[..., str | None]) -> str:
    """Publish a bundle, update to it, and return its version."""
    publisher.add(model)
    version = update()
    assert version is not None
    return version
