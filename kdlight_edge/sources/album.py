"""What makes an `Album` a `Source`: it is read from its first picture to its last, until it is closed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from kdlight_edge.frame import Frame, Unreadable


class InOrder(ABC):
    """An album whose pictures can be taken one after the other too."""

    live = False
    _closed = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Frame | Unreadable:
        """Read and decode one picture; may be called from several threads."""

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        for index in range(len(self)):
            if self._closed:
                return
            yield self[index]

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
