"""What is in a store: read, or taken out as a sender does."""

from kdlight_edge.sinks.store import Store


def bodies(store: Store) -> list[str]:
    return [body for _, body in store.after(0, 1000)]


def drain(store: Store) -> list[str]:
    sent, found = 0, list[str]()
    while batch := store.after(sent, 20):
        found += [body for _, body in batch]
        sent = batch[-1][0]
        store.take([number for number, _ in batch])
    return found
