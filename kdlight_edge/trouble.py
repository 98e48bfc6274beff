"""What is wrong with a receiver, for people: each cause once, until all is well again."""

from collections.abc import Callable


class Trouble:
    """True while something is wrong; told from more than one thread."""

    def __init__(self, report: Callable[[str], None]) -> None:
        """Take what takes a line."""
        self._report = report
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._told)

    def tell(self, what: str, cause: str = "") -> None:
        """Tell a cause: behind a network that was away at first there may be a password that is wrong.

        Args:
            what: the line.
            cause: what of it tells causes apart, where that is not all of it.
        """
        if (cause or what) not in self._told:
            self._told.add(cause or what)
            self._report(what)

    def follow(self, what: str) -> None:
        """Tell what may follow from a cause that was told already, and is of no news then."""
        if not self._told:
            self.tell(what)

    def over(self, what: str) -> None:
        """Tell that all is well again, where it was not."""
        if self._told:
            self._told.clear()
            self._report(what)
