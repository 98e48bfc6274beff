"""What is in a store: brought to its file, read, or taken out as a sender does."""

from collections.abc import Iterable

import pytest

from kdlight_edge.sinks.store import Store


def settle(store: Store, texts: Iterable[str], patch: pytest.MonkeyPatch) -> None:
    """Put texts into a store and have them in its file at once, where they wait for seconds in its tail."""
    for text in texts:
        store.put(text)
    with patch.context() as now:
        now.setattr("kdlight_edge.sinks.store.WAITED", 0.0)
        store.tidy()


def bodies(store: Store) -> list[str]:
    return [body for _, body in store.after(0, 1000)]


def drain(store: Store) -> list[str]:
    sent, found = 0, list[str]()
    while batch := store.after(sent, 20):
        found += [body for _, body in batch]
        sent = batch[-1][0]
        store.take([number for number, _ in batch])
    return found
