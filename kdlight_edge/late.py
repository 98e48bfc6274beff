"""Modules that are imported late, by name, because a package that they own may be missing, or not at all."""

import contextlib
import importlib
import importlib.metadata
import io
import sys
from collections.abc import Iterator
from typing import Any

from kdlight_edge.errors import MissingPackage, missing_package


def import_late(module: str, engine: str) -> Any:
    """Import the module that owns an engine's package.

    Raises:
        MissingPackage: the package is not installed, or is and does not load.
    """
    said, clash = io.StringIO(), None
    try:
        with contextlib.redirect_stderr(said):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error
    except ImportError as error:
        # The package is there and its libraries do not load: a board without a system library, a wheel cut short.
        clash = numpy_clash(said.getvalue(), engine)
        reason = f"{engine} is installed and does not import ({error}); kdlight-edge doctor tells"
        raise MissingPackage(clash or reason) from error
    finally:
        if not clash:
            sys.stderr.write(said.getvalue())


def numpy_clash(said: str, package: str) -> str | None:
    """Return one line for a package built for NumPy 1 that met NumPy 2; None where it said something else.

    The error of its import is empty then: NumPy itself writes a page on stderr, with a trace.
    """
    if "compiled using NumPy 1" not in said:
        return None
    here = importlib.metadata.version("numpy")
    return f"{package} was built for NumPy 1 and NumPy {here} is here; pip install 'numpy<2', or a newer {package}"


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
