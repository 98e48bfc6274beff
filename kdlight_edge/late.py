"""Modules that are imported late, by name, because a package that they own may be missing, or not at all."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

from kdlight_edge.errors import MissingPackage, missing_package


def import_late(module: str, engine: str) -> Any:
    """Import the module that owns an engine's package.

    Raises:
        MissingPackage: the package is not installed, or is and does not load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error
    except ImportError as error:
        # The package is there and its libraries do not load: a board without a system library, a wheel cut short.
        raise MissingPackage(
            f"{engine} is installed and does not import ({error}); kdlight-edge doctor tells"
        ) from error


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
    """Let what is imported within find that ``module`` is not there; one that was imported before stays."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment] # how Python spells "raises ModuleNotFoundError"
    try:
        yield
    finally:
        del sys.modules[module]
